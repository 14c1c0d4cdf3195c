/** Writes through the Worker. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { TOKEN, Worker, code } from "./worker.ts";

let worker: Worker;
before(async () => {
  worker = await Worker.start({ TOKEN, CACHE_SECONDS: "3600" });
});
after(() => worker.stop());

const put = (path: string, body: string, headers = {}) => worker.ask(path, { method: "PUT", body, headers });

test("a write is read at once, also where the old value was cached", async () => {
  assert.equal((await put("/w", "one")).status, 200);
  assert.equal((await worker.hit("/w")).text, "one");
  const written = await put("/w", "two");
  const read = await worker.ask("/w");
  assert.deepEqual([read.headers["x-leasehold-cache"], read.text], ["MISS", "two"]);
  assert.equal(written.headers.etag, read.headers.etag);
  assert.equal(await (await (await worker.bucket()).get("w"))?.text(), "two");
});

test("a write carries its metadata", async () => {
  const headers = { "content-type": "text/plain", "cache-control": "max-age=7", "x-amz-meta-leasehold-writes": "1" };
  await put("/meta", "x", headers);
  const object = await (await worker.bucket()).head("meta");
  assert.equal(object?.httpMetadata?.contentType, "text/plain");
  assert.deepEqual(object?.customMetadata, { "leasehold-writes": "1" });
  const read = await worker.ask("/meta");
  for (const [name, value] of Object.entries(headers)) {
    assert.equal(read.headers[name], value);
  }
});

test("of sixteen that create one key one wins", async () => {
  for (let round = 0; round < 10; round += 1) {
    const statuses = await race(`/created/${round}`, { "if-none-match": "*" });
    assert.deepEqual(statuses, { 200: 1, 412: 15 });
  }
});

test("of sixteen that replace one version one wins", async () => {
  for (let round = 0; round < 10; round += 1) {
    const path = `/replaced/${round}`;
    const { headers } = await put(path, "base");
    assert.deepEqual(await race(path, { "if-match": headers.etag }), { 200: 1, 412: 15 });
  }
});

async function race(path: string, headers: object): Promise<Record<number, number>> {
  const racers = Array.from({ length: 16 }, (_, index) => index);
  const answers = await Promise.all(racers.map((racer) => put(path, `racer ${racer}`, headers)));
  const winner = answers.findIndex(({ status }) => status === 200);
  assert.equal((await worker.ask(path)).text, `racer ${winner}`);
  const counts: Record<number, number> = {};
  for (const { status } of answers) {
    counts[status] = (counts[status] ?? 0) + 1;
  }
  return counts;
}

test("a refused condition writes nothing, and makes the cache forget what was out of date", async () => {
  const bucket = await worker.bucket();
  const { headers } = await put("/refused", "one");
  await worker.hit("/refused");
  await bucket.put("refused", "two");
  const refused = await put("/refused", "three", { "if-match": headers.etag });
  assert.deepEqual([refused.status, code(refused)], [412, "PreconditionFailed"]);
  const read = await worker.ask("/refused");
  assert.deepEqual([read.headers["x-leasehold-cache"], read.text], ["MISS", "two"]);
  assert.equal((await put("/absent", "x", { "if-match": '"d41d8cd98f00b204e9800998ecf8427e"' })).status, 412);
  assert.equal((await put("/absent", "x", { "if-match": "unquoted" })).status, 400);
  assert.equal((await worker.ask("/absent")).status, 404);
});

test("what cannot be honoured is refused before anything is written", async () => {
  for (const [headers, status] of [
    [{ "x-amz-checksum-crc32": "AAAAAA==" }, 501],
    [{ "x-amz-storage-class": "STANDARD" }, 501],
    [{ "if-unmodified-since": "Thu, 01 Jan 2026 00:00:00 GMT" }, 501],
    [{ "content-md5": "nonsense" }, 400],
    [{ "content-md5": createHash("md5").update("other").digest("base64") }, 400],
    [{ "transfer-encoding": "chunked" }, 411],
  ] as const) {
    assert.equal((await put("/unwritten", "x", headers)).status, status, JSON.stringify(headers));
  }
  assert.equal((await worker.ask("/unwritten")).status, 404);
  const right = createHash("md5").update("x").digest("base64");
  assert.equal((await put("/written", "x", { "content-md5": right })).status, 200);
  assert.equal((await put("/a//b", "x")).status, 400);
});

test("an empty value can be written", async () => {
  assert.equal((await put("/nothing", "")).status, 200);
  assert.equal((await worker.ask("/nothing")).headers["content-length"], "0");
});

test("a delete is seen at once, and again", async () => {
  await put("/gone", "one");
  await worker.hit("/gone");
  for (let round = 0; round < 2; round += 1) {
    assert.equal((await worker.ask("/gone", { method: "DELETE" })).status, 204);
    assert.equal((await worker.ask("/gone")).status, 404);
  }
});

test("a conditional delete is refused, because R2 has none", async () => {
  const { headers } = await put("/kept", "one");
  const answer = await worker.ask("/kept", { method: "DELETE", headers: { "if-match": headers.etag } });
  assert.equal(answer.status, 501);
  assert.equal((await worker.ask("/kept")).text, "one");
});
