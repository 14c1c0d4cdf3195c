import { badRequest } from "./refusal.ts";

/** What If-Match and If-None-Match name: anything at all, or some entity tags. */
export type Tags = "*" | readonly Tag[];

interface Tag {
  weak: boolean;
  /** With its quotes, as ETag has it. */
  value: string;
}

/** Parses a header, `undefined` when there is none. */
export function parseTags(header: string | null): Tags | undefined {
  if (header === null) {
    return undefined;
  }
  if (header.trim() === "*") {
    return "*";
  }
  return header.split(",").map((part) => {
    const found = /^\s*(W\/)?("[\x21\x23-\x7e]*")\s*$/.exec(part);
    if (found?.[2] === undefined) {
      throw badRequest("InvalidArgument", 'a condition is "*" or a list of ETags in their quotes');
    }
    return { weak: found[1] !== undefined, value: found[2] };
  });
}

/** As If-Match compares: a weak tag is equal to nothing. */
export function includes(tags: Tags, etag: string): boolean {
  return tags === "*" || tags.some((tag) => !tag.weak && tag.value === etag);
}

/** As If-None-Match compares: weak tags count like the others. */
export function includesWeakly(tags: Tags, etag: string): boolean {
  return tags === "*" || tags.some((tag) => tag.value === etag);
}
