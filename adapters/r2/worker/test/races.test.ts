/** Reads that take long, while something else happens. */
import assert from "node:assert/strict";
import { setTimeout as wait } from "node:timers/promises";
import { after, before, test } from "node:test";
import { type Answer, HINDERED, TOKEN, Worker } from "./worker.ts";

let worker: Worker;
before(async () => {
  worker = await Worker.start({ TOKEN, CACHE_SECONDS: "3600" }, HINDERED);
});
after(() => worker.stop());

const SLOW = 400;
const slowly = (path: string, how: string): Promise<Answer> =>
  worker.ask(path, { headers: { "x-hinder": `${how} ${SLOW}` } });

for (const how of ["answer", "body"]) {
  for (const method of ["PURGE", "POST", "PUT", "DELETE"]) {
    test(`a slow ${how} that began before a ${method} is not cached after it`, async () => {
      const path = `/${how}/${method}`;
      const bucket = await worker.bucket();
      await bucket.put(path.slice(1), "one");
      const slow = slowly(path, how);
      await wait(SLOW / 2);
      if (method === "PURGE" || method === "POST") {
        await bucket.put(path.slice(1), "two");
      }
      const url = method === "POST" ? `${path}?purge` : path;
      const { status } = await worker.ask(url, method === "PUT" ? { method, body: "two" } : { method });
      assert.equal(status, method === "PUT" ? 200 : 204);
      assert.equal((await slow).text, "one");
      // As long as it takes to be cached, where it is.
      await wait(100);
      const then = await worker.ask(path);
      assert.deepEqual([then.status, then.text === "one"], [method === "DELETE" ? 404 : 200, false]);
      if (method !== "DELETE") {
        assert.equal((await worker.hit(path)).text, "two", "what is read later is cached again");
      }
    });
  }
}

test("of two reads the one that began later stays", async () => {
  const bucket = await worker.bucket();
  await bucket.put("two", "one");
  const slow = slowly("/two", "body");
  await wait(SLOW / 2);
  await bucket.put("two", "two");
  assert.equal((await worker.hit("/two")).text, "two");
  assert.equal((await slow).text, "one");
  await wait(100);
  assert.deepEqual((await worker.ask("/two")).text, "two");
});

test("the age of a value is counted from before the bucket was asked", async () => {
  await (await worker.bucket()).put("aged", "one");
  await worker.ask("/aged", { headers: { "x-hinder": "answer 1000" } });
  assert.ok(Number((await worker.hit("/aged")).headers.age) >= 1);
});

test("a value that broke off is not cached", async () => {
  await (await worker.bucket()).put("broken", "whole");
  await assert.rejects(slowly("/broken", "break"));
  await wait(100);
  const then = await worker.ask("/broken");
  assert.deepEqual([then.headers["x-leasehold-cache"], then.text], ["MISS", "whole"]);
});

test("without a purge a stale value ends with its time", async () => {
  const brief = await Worker.start({ TOKEN, CACHE_SECONDS: "1" }, HINDERED);
  try {
    const bucket = await brief.bucket();
    await bucket.put("k", "one");
    await brief.hit("/k");
    const replaced = Date.now();
    await bucket.put("k", "two");
    assert.equal((await brief.ask("/k")).text, "one");
    while ((await brief.ask("/k")).text === "one") {
      assert.ok(Date.now() - replaced < 1_500, "it is still served");
      await wait(20);
    }
  } finally {
    await brief.stop();
  }
});
