/** The one range of bytes that a request asks for, inclusive ends as HTTP has them. */
export type Range = { first: number; last?: number } | { suffix: number };

/** Where in a value of known size a range lies. */
export interface Slice {
  offset: number;
  length: number;
}

/**
 * Parses a Range header. `undefined` means the whole value, which is also HTTP's answer to a header that is malformed, of
 * another unit, or about several ranges at once.
 */
export function parseRange(header: string | null): Range | undefined {
  const found = /^\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*$/i.exec(header ?? "");
  if (found === null) {
    return undefined;
  }
  const [, first = "", last = ""] = found;
  if (first === "") {
    return last === "" ? undefined : { suffix: integer(last) };
  }
  if (last === "") {
    return { first: integer(first) };
  }
  return integer(last) < integer(first) ? undefined : { first: integer(first), last: integer(last) };
}

/** `undefined` when none of the value's bytes are in the range. */
export function resolve(range: Range, size: number): Slice | undefined {
  if ("suffix" in range) {
    const length = Math.min(range.suffix, size);
    return length === 0 ? undefined : { offset: size - length, length };
  }
  if (range.first >= size) {
    return undefined;
  }
  const end = Math.min((range.last ?? size) + 1, size);
  return { offset: range.first, length: end - range.first };
}

/** No value is as long as the numbers that would not be exact. */
function integer(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER - 1);
}
