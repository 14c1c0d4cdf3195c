/** The parts that need no runtime. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { authorized, equal } from "../src/auth.ts";
import { fresh } from "../src/fresh.ts";
import { checkKey, encodeKey, keyOfUrl } from "../src/key.ts";
import { parseRange, resolve } from "../src/range.ts";
import { includes, includesWeakly, parseTags } from "../src/tags.ts";

test("tokens are equal only when every character is", async () => {
  assert.equal(await equal("abc", "abc"), true);
  for (const other of ["", "ab", "abcd", "Abc", "abC", "abc ", "cba"]) {
    assert.equal(await equal(other, "abc"), false, other);
  }
});

test("what is compared is a hash of fixed length, whatever is offered", async (context) => {
  const digest = context.mock.method(crypto.subtle, "digest");
  await authorized(`Bearer ${"x".repeat(10_000)}`, "abc");
  assert.deepEqual(digest.mock.calls.map((call) => call.arguments[0]), ["SHA-256", "SHA-256"]);
});

test("a token is offered as Bearer and nothing else", async () => {
  for (const header of ["Bearer abc", "bearer abc", "Bearer  abc "]) {
    assert.equal(await authorized(header, "abc"), true, header);
  }
  for (const header of [null, "", "Bearer", "Bearer ", "abc", "Basic abc", "Bearer abc def", "Bearer abcd", "Bearer ab"]) {
    assert.equal(await authorized(header, "abc"), false, String(header));
  }
});

test("a key is the path, decoded once", () => {
  for (const [path, key] of [
    ["/a", "a"],
    ["/a/b", "a/b"],
    ["/a%2Fb", "a/b"],
    ["/a%20b+c", "a b+c"],
    ["/100%25", "100%"],
    ["/%2541", "%41"],
    ["/%C3%A9%F0%9F%98%80", "é😀"],
    ["/...", "..."],
    ["/%3F%23", "?#"],
    ["/https%3A//x".replace("//", "/"), "https:/x"],
  ]) {
    assert.equal(keyOfUrl(`https://edge.example${path}`), key, path);
  }
});

test("a path that is no key is refused", () => {
  for (const path of ["", "/", "//a", "/a//b", "/a/", "/.", "/..", "/a/../b", "/%2e%2e/b", "/a/.", "/%", "/%zz", "/%ff", "/%00",
    "/a%0ab", "/%7f", "/%C2%85", "/a?", "/a?x=1", "/a?purge", `/${"k".repeat(1025)}`, `/${"%C3%A9".repeat(513)}`]) {
    assert.throws(() => keyOfUrl(`https://edge.example${path}`), { name: "Error", status: 400 }, path);
  }
  assert.equal(keyOfUrl(`https://edge.example/${"%C3%A9".repeat(512)}`).length, 512);
  assert.throws(() => checkKey("\ud800"), { status: 400 });
});

test("a key has one spelling in the cache", () => {
  for (const path of ["/a%2Fb%20c!", "/a/b%20c%21", "/%61/b%20c!"]) {
    assert.equal(encodeKey(keyOfUrl(`https://edge.example${path}`)), "a/b%20c!");
  }
  assert.notEqual(encodeKey("a?b"), encodeKey("a"));
});

test("ranges are read as HTTP has them", () => {
  for (const [header, size, slice] of [
    ["bytes=0-0", 10, { offset: 0, length: 1 }],
    ["bytes=2-4", 10, { offset: 2, length: 3 }],
    ["bytes=2-", 10, { offset: 2, length: 8 }],
    ["bytes=2-99999999999999999999", 10, { offset: 2, length: 8 }],
    ["bytes=-3", 10, { offset: 7, length: 3 }],
    ["bytes=-30", 10, { offset: 0, length: 10 }],
    ["bytes=10-", 10, undefined],
    ["bytes=-0", 10, undefined],
    ["bytes=0-", 0, undefined],
    ["bytes=-1", 0, undefined],
  ] as const) {
    const range = parseRange(header);
    assert.ok(range, header);
    assert.deepEqual(resolve(range, size), slice, header);
  }
  for (const header of [null, "", "bytes", "bytes=", "bytes=-", "bytes=3-2", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b"]) {
    assert.equal(parseRange(header), undefined, String(header));
  }
});

test("conditions compare strongly or weakly", () => {
  const tags = parseTags('"a", W/"b"');
  assert.ok(tags);
  assert.deepEqual([includes(tags, '"a"'), includes(tags, '"b"'), includes(tags, '"c"')], [true, false, false]);
  assert.deepEqual([includesWeakly(tags, '"a"'), includesWeakly(tags, '"b"'), includesWeakly(tags, '"c"')], [true, true, false]);
  assert.equal(includes("*", '"a"') && includesWeakly("*", '"a"'), true);
  assert.equal(parseTags(" * "), "*");
  assert.equal(parseTags(null), undefined);
  for (const header of ["", "a", '"a" "b"', '"a",', 'w/"a"', '"a"b"']) {
    assert.throws(() => parseTags(header), { status: 400 }, header);
  }
});

test("a value is fresh for as long as it may be, and not a moment longer", () => {
  assert.deepEqual([fresh(0, 60), fresh(59_999, 60), fresh(60_000, 60), fresh(NaN, 60)], [true, true, false, false]);
});
