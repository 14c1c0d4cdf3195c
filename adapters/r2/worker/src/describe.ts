import { Refusal, badRequest } from "./refusal.ts";

const META = "x-amz-meta-";

/** HTTP's own headers that R2 keeps with a value. */
const KEPT = [
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-type",
  "expires",
] as const;

/** The headers of a value as R2's S3 endpoint gives them, but for Content-Length and Content-Range. */
export function describe(object: R2Object): Headers {
  const headers = new Headers();
  object.writeHttpMetadata(headers);
  headers.set("etag", object.httpEtag);
  headers.set("last-modified", object.uploaded.toUTCString());
  headers.set("accept-ranges", "bytes");
  let missing = 0;
  for (const [name, value] of Object.entries(object.customMetadata ?? {})) {
    // The binding takes names and values that no header can carry.
    if (/^[!#$%&'*+\-.^_`|~\w]+$/.test(name) && /^[\x20-\x7e]*$/.test(value)) {
      headers.set(META + name, value);
    } else {
      missing += 1;
    }
  }
  if (missing > 0) {
    headers.set("x-amz-missing-meta", String(missing));
  }
  return headers;
}

/** What a write says of its value. */
export function described(headers: Headers): Pick<R2PutOptions, "httpMetadata" | "customMetadata" | "md5"> {
  const httpMetadata = new Headers();
  const customMetadata: Record<string, string> = {};
  for (const [name, value] of headers) {
    if ((KEPT as readonly string[]).includes(name)) {
      httpMetadata.set(name, value);
    } else if (name.startsWith(META)) {
      customMetadata[name.slice(META.length)] = value;
    } else if (name.startsWith("x-amz-")) {
      throw new Refusal(501, "NotImplemented", `the header ${name} is not understood here; write through R2's S3 endpoint`);
    }
  }
  const digest = headers.get("content-md5");
  return { httpMetadata, customMetadata, ...(digest === null ? {} : { md5: md5(digest) }) };
}

function md5(header: string): Uint8Array {
  try {
    const bytes = Uint8Array.from(atob(header.trim()), (character) => character.charCodeAt(0));
    if (bytes.length === 16) {
      return bytes;
    }
  } catch {
    // Told below.
  }
  throw badRequest("InvalidDigest", "content-md5 is not sixteen bytes in base64");
}
