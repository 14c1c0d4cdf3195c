// Runs the built tests on a Node that is new enough for the simulator: this one, or the one that npm has installed.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const NEWEST_TOO_OLD = 21;

function node() {
  if (Number(process.versions.node.split(".")[0]) > NEWEST_TOO_OLD) {
    return process.execPath;
  }
  const name = `node-${process.platform}-${process.arch}`;
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    return join(dirname(manifest), "bin", "node");
  } catch {
    console.error(`these tests need Node 22 or later, and there is no npm package ${name} with one`);
    process.exit(1);
  }
}

const built = join(import.meta.dirname, "..", "build", "test");
const tests = readdirSync(built).filter((name) => name.endsWith(".test.js"));
const run = spawnSync(node(), ["--test", ...tests.map((name) => join(built, name))], { stdio: "inherit" });
process.exit(run.status ?? 1);
