/** A Worker that is set up wrongly serves nobody. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { TOKEN, Worker, code } from "./worker.ts";

async function started(bindings: Record<string, string>, check: (worker: Worker) => Promise<void>): Promise<void> {
  const worker = await Worker.start(bindings);
  try {
    await (await worker.bucket()).put("k", "value");
    await check(worker);
  } finally {
    await worker.stop();
  }
}

for (const [bindings, word] of [
  [{}, "TOKEN"],
  [{ TOKEN: "" }, "TOKEN"],
  [{ TOKEN: "ends with a line\n" }, "TOKEN"],
  [{ TOKEN, CACHE_SECONDS: "soon" }, "CACHE_SECONDS"],
  [{ TOKEN, CACHE_SECONDS: "86401" }, "CACHE_SECONDS"],
  [{ TOKEN, CACHE_BYTES_MAX: "-1" }, "CACHE_BYTES_MAX"],
] as const) {
  test(`with ${JSON.stringify(bindings)} it says what is wrong and serves nothing`, () =>
    started(bindings, async (worker) => {
      for (const authorization of ["", "Bearer ", `Bearer ${TOKEN}`, "Bearer undefined"]) {
        const answer = await worker.ask("/k", { headers: { authorization } });
        assert.deepEqual([answer.status, code(answer)], [500, "Misconfigured"]);
        assert.ok(answer.text.includes(word) && !answer.text.includes(TOKEN), answer.text);
      }
    }));
}

test("with the token alone it caches for a minute", () =>
  started({ TOKEN }, async (worker) => {
    assert.equal((await worker.hit("/k")).text, "value");
    const kept = await (await worker.cache()).match(`${worker.origin}/k`);
    assert.equal(kept?.headers.get("cache-control"), "public, max-age=60");
    assert.equal(kept?.headers.get("authorization"), null);
  }));

test("with no time to cache for it caches nothing", () =>
  started({ TOKEN, CACHE_SECONDS: "0" }, async (worker) => {
    for (let round = 0; round < 5; round += 1) {
      assert.equal((await worker.ask("/k")).headers["x-leasehold-cache"], "BYPASS");
    }
  }));
