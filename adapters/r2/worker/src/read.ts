import { type Entry, Values } from "./cache.ts";
import type { Config } from "./config.ts";
import { describe } from "./describe.ts";
import { type Range, type Slice, parseRange, resolve } from "./range.ts";
import { Refusal, bucketRefused } from "./refusal.ts";
import { type Tags, includes, includesWeakly, parseTags } from "./tags.ts";

interface Question {
  head: boolean;
  range: Range | undefined;
  ifMatch: Tags | undefined;
  ifNoneMatch: Tags | undefined;
}

/** A value, or the part of it that is to be sent, from wherever it came. */
interface Found {
  headers: Headers;
  size: number;
  /** Sends the value's bytes from `slice`, or none for `undefined`; called once. */
  body: (slice: Slice | undefined) => ReadableStream | null | Promise<null>;
}

/** Puts a whole value that was asked for at that time into the cache, when there is time. */
type Keep = (whole: Omit<Entry, "ageSeconds">, readAt: number) => void;

/** GET and HEAD. */
export async function read(request: Request, key: string, config: Config, context: ExecutionContext): Promise<Response> {
  const question = ask(request);
  const cached = config.cacheSeconds > 0 && question.ifMatch === undefined && !refusesCache(request);
  const values = await Values.open(request.url);
  if (cached) {
    const entry = await values.find(key, config.cacheSeconds);
    if (entry !== undefined) {
      const response = await answer(question, fromEntry(entry));
      response.headers.set("age", String(entry.ageSeconds));
      response.headers.set("x-leasehold-cache", "HIT");
      return response;
    }
  }
  const keep: Keep = (whole, readAt) => {
    const kept = values.keep(key, whole, readAt, config.cacheSeconds);
    // A value that cannot be kept is read again the next time. Keys stay out of the log.
    context.waitUntil(kept.catch(() => console.warn("a value could not be cached")));
  };
  const found = await fromBucket(question, key, config, cached ? keep : undefined);
  const response = await answer(question, found);
  response.headers.set("x-leasehold-cache", cached ? "MISS" : "BYPASS");
  return response;
}

function ask(request: Request): Question {
  if (request.headers.has("if-unmodified-since")) {
    // Left out, it would send a value that was not wanted.
    throw new Refusal(501, "NotImplemented", "the header if-unmodified-since is not understood here");
  }
  // The whole value is always a right answer to If-Range.
  const whole = request.method === "HEAD" || request.headers.has("if-range");
  return {
    head: request.method === "HEAD",
    range: whole ? undefined : parseRange(request.headers.get("range")),
    ifMatch: parseTags(request.headers.get("if-match")),
    ifNoneMatch: parseTags(request.headers.get("if-none-match")),
  };
}

function refusesCache(request: Request): boolean {
  return directives(request.headers.get("cache-control")).some((name) => name === "no-cache" || name === "no-store");
}

function directives(header: string | null): string[] {
  return (header ?? "").split(",").map((part) => (part.split("=")[0] ?? "").trim().toLowerCase());
}

function fromEntry({ headers, size, body }: Entry): Found {
  return {
    headers,
    size,
    body: (slice) => {
      if (slice === undefined) {
        return body.cancel().then(() => null);
      }
      return slice.length === size ? body : cut(body, slice);
    },
  };
}

async function fromBucket(
  question: Question,
  key: string,
  config: Config,
  keep: Keep | undefined,
): Promise<Found> {
  // Before the question is sent: what comes back may have been replaced by the time it arrives.
  const readAt = Date.now();
  const object = await fetchObject(question, key, config.bucket);
  if (object === null) {
    throw new Refusal(404, "NoSuchKey", "there is no such key");
  }
  const headers = describe(object);
  if (headers.has("content-encoding")) {
    // Cloudflare may decode such bodies on their way, and what arrives would not be the value.
    throw new Refusal(502, "Encoded", "a value with a Content-Encoding does not pass the edge unchanged; read the bucket");
  }
  const forbidden = directives(headers.get("cache-control")).some((name) => /^(no-store|no-cache|private)$/.test(name));
  const keeps = keep !== undefined && object.size <= config.cacheBytesMax && !forbidden;
  return {
    headers,
    size: object.size,
    body: (slice) => {
      const body = "body" in object ? (object as R2ObjectBody).body : null;
      if (body === null || slice === undefined) {
        return body === null ? null : body.cancel().then(() => null);
      }
      if (!keeps || question.range !== undefined) {
        return body;
      }
      const [mine, theirs] = body.tee();
      keep({ headers: new Headers(headers), size: object.size, body: theirs }, readAt);
      return sized(mine, object.size);
    },
  };
}

async function fetchObject(question: Question, key: string, bucket: R2Bucket): Promise<R2Object | R2ObjectBody | null> {
  const { head, range } = question;
  try {
    if (head) {
      return await bucket.head(key);
    }
    return await (range === undefined ? bucket.get(key) : bucket.get(key, { range: inR2(range) }));
  } catch (error) {
    const object = range === undefined ? null : await bucket.head(key).catch(() => null);
    if (object !== null && range !== undefined && resolve(range, object.size) === undefined) {
      // That is why it failed. The answer has to say the size, and the conditions are about the ETag.
      return object;
    }
    throw bucketRefused(error);
  }
}

function inR2(range: Range): R2Range {
  if ("suffix" in range) {
    return range;
  }
  return range.last === undefined
    ? { offset: range.first }
    : { offset: range.first, length: range.last - range.first + 1 };
}

async function answer(question: Question, found: Found): Promise<Response> {
  const { headers, size } = found;
  const etag = headers.get("etag") ?? "";
  if (question.ifMatch !== undefined && !includes(question.ifMatch, etag)) {
    await found.body(undefined);
    throw new Refusal(412, "PreconditionFailed", "the value has another ETag than If-Match names");
  }
  if (question.ifNoneMatch !== undefined && includesWeakly(question.ifNoneMatch, etag)) {
    await found.body(undefined);
    return new Response(null, { status: 304, headers });
  }
  const whole = { offset: 0, length: size };
  const slice = question.range === undefined ? whole : resolve(question.range, size);
  if (slice === undefined) {
    await found.body(undefined);
    throw new Refusal(416, "InvalidRange", `the value has ${size} bytes, and none of them are in that range`, {
      "content-range": `bytes */${size}`,
    });
  }
  headers.set("content-length", String(slice.length));
  if (question.range !== undefined) {
    headers.set("content-range", `bytes ${slice.offset}-${slice.offset + slice.length - 1}/${size}`);
  }
  const body = question.head ? await found.body(undefined) : await found.body(slice);
  return new Response(body, { status: question.range === undefined ? 200 : 206, headers });
}

/** A stream of so many bytes, which Content-Length then says. */
function sized(body: ReadableStream, length: number): ReadableStream {
  const { readable, writable } = new FixedLengthStream(length);
  // Whoever reads learns of a failure from the stream.
  body.pipeTo(writable).catch(() => undefined);
  return readable;
}

/** The part of a stream that is asked for; the rest is left unread. */
function cut(body: ReadableStream<Uint8Array>, { offset, length }: Slice): ReadableStream {
  let skip = offset;
  let left = length;
  const part = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      const start = Math.min(skip, chunk.length);
      skip -= start;
      const wanted = chunk.subarray(start, start + left);
      left -= wanted.length;
      if (wanted.length > 0) {
        controller.enqueue(wanted);
      }
      if (left === 0) {
        controller.terminate();
      }
    },
  });
  body.pipeTo(part.writable).catch(() => undefined);
  return sized(part.readable, length);
}
