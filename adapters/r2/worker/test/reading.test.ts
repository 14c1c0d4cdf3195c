/** Reads: who may, from where, how old, and which part. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { TOKEN, Worker, code } from "./worker.ts";

let worker: Worker;
before(async () => {
  worker = await Worker.start({ TOKEN, CACHE_SECONDS: "3600", CACHE_BYTES_MAX: "100000" });
});
after(() => worker.stop());

const md5 = (body: string | Buffer): string => `"${createHash("md5").update(body).digest("hex")}"`;

test("nothing is served without the token", async () => {
  await (await worker.bucket()).put("guarded", "secret");
  await worker.hit("/guarded");
  for (const authorization of ["", "Bearer", "Bearer wrong", `Bearer ${TOKEN}x`, `Basic ${TOKEN}`, TOKEN]) {
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "PURGE", "POST", "OPTIONS"]) {
      const answer = await worker.ask(method === "POST" ? "/guarded?purge" : "/guarded", { method, headers: { authorization } });
      assert.equal(answer.status, 401, `${method} with ${authorization}`);
      assert.equal(answer.headers["www-authenticate"], "Bearer");
      assert.equal(code(answer), method === "HEAD" ? undefined : "AccessDenied");
      assert.ok(!answer.text.includes("secret") && !answer.text.includes(TOKEN));
    }
  }
  assert.equal((await worker.ask("/guarded")).text, "secret");
});

test("a value comes from the bucket first and from the cache then", async () => {
  await (await worker.bucket()).put("twice", "one");
  const first = await worker.ask("/twice");
  assert.deepEqual([first.status, first.text, first.headers["x-leasehold-cache"]], [200, "one", "MISS"]);
  assert.equal(first.headers["age"], undefined);
  const then = await worker.hit("/twice");
  assert.deepEqual([then.status, then.text], [200, "one"]);
  assert.match(String(then.headers["age"]), /^\d+$/);
  for (const answer of [first, then]) {
    assert.equal(answer.headers.etag, md5("one"));
    assert.equal(answer.headers["content-length"], "3");
    assert.equal(answer.headers["accept-ranges"], "bytes");
    assert.match(String(answer.headers["last-modified"]), /GMT$/);
  }
});

test("a cached value stays as it was until it is purged", async () => {
  const bucket = await worker.bucket();
  await bucket.put("old", "one");
  await worker.hit("/old");
  await bucket.put("old", "two");
  assert.deepEqual(pick(await worker.ask("/old")), ["HIT", "one"]);
  assert.deepEqual(pick(await worker.ask("/old", { headers: { "cache-control": "no-cache" } })), ["BYPASS", "two"]);
  assert.deepEqual(pick(await worker.ask("/old")), ["HIT", "one"]);
  const purged = await worker.ask("/old", { method: "PURGE" });
  assert.deepEqual([purged.status, purged.text], [204, ""]);
  assert.deepEqual(pick(await worker.ask("/old")), ["MISS", "two"]);
});

test("a purge is also a post, and of one key", async () => {
  const bucket = await worker.bucket();
  for (const query of ["?purge", "?purge="]) {
    for (const key of ["posted", "beside"]) {
      await bucket.put(key, "one");
      await worker.ask(`/${key}`, { method: "PURGE" });
      await worker.hit(`/${key}`);
      await bucket.put(key, "two");
    }
    const purged = await worker.ask(`/posted${query}`, { method: "POST" });
    assert.deepEqual([purged.status, purged.text], [204, ""]);
    assert.deepEqual(pick(await worker.ask("/posted")), ["MISS", "two"]);
    assert.deepEqual(pick(await worker.ask("/beside")), ["HIT", "one"]);
  }
  for (const path of ["/?purge", "/a//b?purge", "/a?x&y?purge"]) {
    assert.equal((await worker.ask(path, { method: "POST" })).status, 400, path);
  }
  assert.equal((await worker.ask("/posted?purge")).status, 400);
});

test("a value is not served past its time, counted from when the bucket was asked", async () => {
  await (await worker.bucket()).put("aged", "new");
  const remember = (secondsAgo: number): Promise<void> => {
    const readAt = String(Date.now() - secondsAgo * 1000);
    const headers = { "cache-control": "public, max-age=100000", "x-leasehold-size": "3", "x-leasehold-read-at": readAt };
    return worker.remember("/aged", "old", headers);
  };
  await remember(3_500);
  const young = await worker.ask("/aged");
  assert.deepEqual(pick(young), ["HIT", "old"]);
  assert.ok(Number(young.headers["age"]) >= 3_500);
  await remember(3_600);
  assert.deepEqual(pick(await worker.ask("/aged")), ["MISS", "new"]);
});

test("what has not changed is not sent again", async () => {
  await (await worker.bucket()).put("same", "one");
  const etag = md5("one");
  const ask = (value: string) => worker.ask("/same", { headers: { "if-none-match": value } });
  for (const from of ["bucket", "cache"]) {
    for (const value of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const answer = await ask(value);
      assert.deepEqual([answer.status, answer.text, answer.headers.etag], [304, "", etag], `${value} from the ${from}`);
    }
    assert.equal((await worker.ask("/same", { method: "HEAD", headers: { "if-none-match": etag } })).status, 304);
    assert.deepEqual((await ask('"other"')).text, "one");
    assert.equal((await ask("unquoted")).status, 400);
    await worker.hit("/same");
  }
  assert.equal((await ask(etag)).headers["x-leasehold-cache"], "HIT");
});

test("parts come from the bucket, and from the cache once it has the whole", async () => {
  const bytes = Buffer.from(Array.from({ length: 60_000 }, (_, index) => index % 251));
  await (await worker.bucket()).put("parts", bytes);
  for (const from of ["MISS", "HIT"]) {
    for (const [range, start, end] of [
      ["bytes=0-0", 0, 1],
      ["bytes=100-199", 100, 200],
      ["bytes=59990-", 59_990, 60_000],
      ["bytes=59990-70000", 59_990, 60_000],
      ["bytes=1-99999999999999999999", 1, 60_000],
      ["bytes=0-", 0, 60_000],
      ["bytes=-10", 59_990, 60_000],
      ["bytes=-70000", 0, 60_000],
    ] as const) {
      const answer = await worker.ask("/parts", { headers: { range } });
      assert.equal(answer.status, 206, range);
      assert.equal(answer.headers["x-leasehold-cache"], from, range);
      assert.equal(answer.headers["content-range"], `bytes ${start}-${end - 1}/60000`);
      assert.equal(answer.headers["content-length"], String(end - start));
      assert.equal(answer.headers.etag, md5(bytes));
      assert.ok(answer.body.equals(bytes.subarray(start, end)), `${range}, ${from}`);
    }
    for (const range of ["bytes=60000-", "bytes=60000-60001", "bytes=-0"]) {
      const answer = await worker.ask("/parts", { headers: { range } });
      assert.deepEqual([answer.status, answer.headers["content-range"]], [416, "bytes */60000"], `${range}, ${from}`);
    }
    const ranged = { range: "bytes=0-1", "if-none-match": md5(bytes) };
    assert.equal((await worker.ask("/parts", { headers: ranged })).status, 304);
    const unsatisfiable = { range: "bytes=60000-", "if-none-match": md5(bytes) };
    assert.equal((await worker.ask("/parts", { headers: unsatisfiable })).status, 304);
    for (const range of ["bytes=0-1,5-6", "bytes=5-1", "lines=1-2"]) {
      const answer = await worker.ask("/parts", { headers: { range, "cache-control": "no-cache" } });
      assert.deepEqual([answer.status, answer.body.length], [200, 60_000], range);
    }
    await worker.hit("/parts");
  }
});

test("that a value is not there is not remembered", async () => {
  for (const method of ["GET", "HEAD", "GET"]) {
    const answer = await worker.ask("/later", { method });
    assert.deepEqual([answer.status, answer.headers["cache-control"]], [404, "no-store"]);
  }
  await (await worker.bucket()).put("later", "here");
  assert.equal((await worker.ask("/later")).text, "here");
});

test("a head and a part do not stand for the whole in the cache", async () => {
  await (await worker.bucket()).put("partly", "0123456789");
  for (let round = 0; round < 5; round += 1) {
    assert.equal((await worker.ask("/partly", { method: "HEAD" })).headers["x-leasehold-cache"], "MISS");
    const part = await worker.ask("/partly", { headers: { range: "bytes=2-3" } });
    assert.deepEqual(pick(part), ["MISS", "23"]);
    const unchanged = await worker.ask("/partly", { headers: { "if-none-match": md5("0123456789") } });
    assert.deepEqual(pick(unchanged), ["MISS", ""]);
  }
  assert.deepEqual(pick(await worker.ask("/partly")), ["MISS", "0123456789"]);
});

test("a part of a value that is not there is not there", async () => {
  const answer = await worker.ask("/absent", { headers: { range: "bytes=0-1" } });
  assert.deepEqual([answer.status, code(answer)], [404, "NoSuchKey"]);
});

test("an empty value has no parts", async () => {
  await (await worker.bucket()).put("empty", "");
  for (const asked of [await worker.ask("/empty"), await worker.hit("/empty")]) {
    assert.deepEqual([asked.status, asked.text, asked.headers["content-length"]], [200, "", "0"]);
  }
  assert.equal((await worker.ask("/empty", { headers: { range: "bytes=0-" } })).status, 416);
  await worker.ask("/empty", { method: "PURGE" });
  assert.equal((await worker.ask("/empty", { headers: { range: "bytes=0-" } })).status, 416);
  assert.equal((await worker.ask("/empty", { headers: { range: "bytes=-5" } })).status, 416);
});

test("a head says what a get would, without the value", async () => {
  await (await worker.bucket()).put("headed", "one", { customMetadata: { who: "me" } });
  const head = await worker.ask("/headed", { method: "HEAD", headers: { range: "bytes=0-0" } });
  assert.deepEqual([head.status, head.text, head.headers["content-length"]], [200, "", "3"]);
  assert.equal(head.headers["x-leasehold-cache"], "MISS");
  await worker.hit("/headed");
  const cached = await worker.ask("/headed", { method: "HEAD" });
  assert.equal(cached.headers["x-leasehold-cache"], "HIT");
  for (const name of ["etag", "content-length", "last-modified", "x-amz-meta-who", "accept-ranges"]) {
    assert.equal(cached.headers[name], head.headers[name], name);
  }
  const absent = await worker.ask("/absent", { method: "HEAD" });
  assert.deepEqual([absent.status, absent.text], [404, ""]);
});

test("metadata comes as the S3 endpoint gives it, also from the cache", async () => {
  await (await worker.bucket()).put("described", "<p>", {
    httpMetadata: { contentType: "text/html", contentLanguage: "en", contentDisposition: "inline", cacheControl: "max-age=5" },
    customMetadata: { "leasehold-writes": "1,2", odd: "é", "na me": "x" },
  });
  const first = await worker.ask("/described");
  const then = await worker.hit("/described");
  for (const { headers } of [first, then]) {
    assert.equal(headers["content-type"], "text/html");
    assert.equal(headers["content-language"], "en");
    assert.equal(headers["content-disposition"], "inline");
    assert.equal(headers["cache-control"], "max-age=5");
    assert.equal(headers["x-amz-meta-leasehold-writes"], "1,2");
    assert.equal(headers["x-amz-missing-meta"], "2");
    assert.ok(Object.keys(headers).every((name) => !name.startsWith("x-leasehold-") || name === "x-leasehold-cache"));
  }
});

test("what is too large, or not to be kept, is read from the bucket each time", async () => {
  const bucket = await worker.bucket();
  await bucket.put("large", "x".repeat(100_001));
  await bucket.put("limit", "x".repeat(100_000));
  await bucket.put("private", "x", { httpMetadata: { cacheControl: "private, max-age=9" } });
  for (let round = 0; round < 5; round += 1) {
    for (const [path, length] of [["/large", 100_001], ["/private", 1]] as const) {
      const answer = await worker.ask(path);
      assert.deepEqual([answer.headers["x-leasehold-cache"], answer.body.length], ["MISS", length]);
      assert.equal(answer.headers["content-length"], String(length));
    }
  }
  assert.equal((await worker.hit("/limit")).body.length, 100_000);
});

test("an encoded value is not passed on, because it might be decoded on its way", async () => {
  await (await worker.bucket()).put("encoded", "x", { httpMetadata: { contentEncoding: "gzip" } });
  const answer = await worker.ask("/encoded");
  assert.deepEqual([answer.status, code(answer)], [502, "Encoded"]);
});

test("a version that must match is asked of the bucket", async () => {
  const bucket = await worker.bucket();
  await bucket.put("pinned", "one");
  await worker.hit("/pinned");
  await bucket.put("pinned", "two");
  const ask = (etag: string) => worker.ask("/pinned", { headers: { "if-match": etag } });
  assert.deepEqual(pick(await ask(md5("two"))), ["BYPASS", "two"]);
  assert.equal((await ask(md5("one"))).status, 412);
  assert.equal((await worker.ask("/pinned", { headers: { "if-unmodified-since": "x" } })).status, 501);
  const either = await worker.ask("/pinned", { headers: { range: "bytes=0-0", "if-range": '"other"' } });
  assert.deepEqual([either.status, either.body.length], [200, 3]);
});

test("keys are exact", async () => {
  const bucket = await worker.bucket();
  const keys = ["a b", "100%", "%41", "A", "a+b", "é😀", "a?b#c", "a/b", "a\\b", '"quoted"', "a&b=c", "x".repeat(1024), "...", "purge"];
  for (const key of keys) {
    await bucket.put(key, `value of ${key}`);
  }
  for (const key of keys) {
    const path = `/${key.split("/").map(encodeURIComponent).join("/")}`;
    assert.equal((await worker.ask(path)).text, `value of ${key}`, key);
    assert.equal((await worker.hit(path)).text, `value of ${key}`, key);
  }
  assert.equal((await worker.ask("/%61%2Fb")).text, "value of a/b");
  assert.equal((await worker.ask("/%61%2Fb")).headers["x-leasehold-cache"], "HIT");
});

test("a path that is no key is refused, and there are no lists", async () => {
  for (const path of ["/", "//", "/a//b", "/a/", "//a", "/%", "/%ff", "/%00", "/a?list-type=2", `/${"x".repeat(1025)}`]) {
    const answer = await worker.ask(path);
    assert.equal(answer.status, 400, path);
    assert.equal(answer.headers["content-type"], "application/xml");
    assert.match(String(code(answer)), /^Invalid(Key|Argument)$/, path);
  }
  // Dots are resolved on the way, or refused; they never reach out of the bucket, nor into another entry.
  await (await worker.bucket()).put("dots", "here");
  for (const path of ["/x/../dots", "/x/%2e%2e/dots", "/../dots", "/./dots", "/x%2F..%2Fdots"]) {
    const answer = await worker.ask(path);
    assert.ok(answer.status === 400 || answer.text === "here", `${path}: ${answer.status}`);
  }
});

test("other methods are refused, with those that there are", async () => {
  for (const [method, path] of [["OPTIONS", "/a"], ["PATCH", "/a"], ["POST", "/a"], ["POST", "/a?x"], ["MKCOL", "/a"]] as const) {
    const answer = await worker.ask(path, { method });
    assert.deepEqual([answer.status, answer.headers.allow], [405, "GET, HEAD, PUT, DELETE, PURGE, POST"], method);
  }
});

test("the token and the keys stay out of the log", () => {
  assert.ok(!worker.log.includes(TOKEN), worker.log);
  assert.ok(!worker.log.includes("guarded"), worker.log);
});

function pick(answer: { headers: Record<string, unknown>; text: string }): unknown[] {
  return [answer.headers["x-leasehold-cache"], answer.text];
}
