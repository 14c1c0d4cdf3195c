import { badRequest } from "./refusal.ts";

const KEY_BYTES_MAX = 1024;

/** The key that a URL names: its path without the first slash, decoded once and exactly. */
export function keyOfUrl(url: string): string {
  // Not `new URL(url).pathname`, which would make another key of one with "." or ".." in it.
  const [, path = "", query = ""] = /^[a-z]+:\/\/[^/?#]*\/?([^?#]*)(\?[^#]*)?/i.exec(url) ?? [];
  if (query !== "") {
    throw badRequest("InvalidArgument", "no query is understood here");
  }
  let key;
  try {
    key = decodeURIComponent(path);
  } catch {
    throw badRequest("InvalidKey", "the path is not UTF-8, percent-encoded");
  }
  checkKey(key);
  return key;
}

/** The rules for keys that every Leasehold store has. */
export function checkKey(key: string): void {
  const why = broken(key);
  if (why !== undefined) {
    throw badRequest("InvalidKey", why);
  }
}

function broken(key: string): string | undefined {
  if (key === "") {
    return "a key has at least one byte; there are no listings here";
  }
  if (!key.isWellFormed()) {
    return "a key is well-formed Unicode";
  }
  if (new TextEncoder().encode(key).length > KEY_BYTES_MAX) {
    return "a key has at most 1,024 bytes";
  }
  if (/[\u0000-\u001f\u007f-\u009f]/.test(key)) {
    return "control characters are not allowed in a key";
  }
  const segments = key.split("/");
  if (segments.includes("")) {
    return "no part of a key between slashes may be empty, nor may it start or end with a slash";
  }
  if (segments.includes(".") || segments.includes("..")) {
    return 'no part of a key may be "." or ".."';
  }
  return undefined;
}

/** The one way to write a key in a URL, however a client wrote it. */
export function encodeKey(key: string): string {
  return key.split("/").map(encodeURIComponent).join("/");
}
