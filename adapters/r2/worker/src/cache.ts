import { fresh } from "./fresh.ts";
import { encodeKey } from "./key.ts";

/** A value as it was read from the bucket, whole. */
export interface Entry {
  headers: Headers;
  size: number;
  body: ReadableStream;
  ageSeconds: number;
}

/** When the bucket was asked for a value or, where there is no size, when a value was forgotten. */
const READ_AT = "x-leasehold-read-at";
const SIZE = "x-leasehold-size";
/** The value's own headers that the cache would take for orders to itself. */
const SET_ASIDE = ["cache-control", "expires"] as const;
const ASIDE = "x-leasehold-aside-";

/**
 * The values that this data centre remembers.
 *
 * A cache of its own, not `caches.default`: that one also answers for the zone, and a value must not reach anybody who has
 * not shown the token, not even when the Worker is taken away and its addresses are given to something else.
 */
export class Values {
  readonly #cache: Cache;
  readonly #origin: string;

  private constructor(cache: Cache, origin: string) {
    this.#cache = cache;
    this.#origin = origin;
  }

  static async open(url: string): Promise<Values> {
    return new Values(await caches.open("leasehold"), new URL(url).origin);
  }

  /** The value, unless there is none or it was read longer ago than `seconds`. */
  async find(key: string, seconds: number): Promise<Entry | undefined> {
    const found = await this.#cache.match(this.#url(key));
    if (found === undefined || found.body === null) {
      return undefined;
    }
    const size = number(found.headers, SIZE);
    const age = Date.now() - number(found.headers, READ_AT);
    if (!fresh(age, seconds) || Number.isNaN(size)) {
      await found.body.cancel();
      return undefined;
    }
    return { headers: restored(found.headers), size, body: found.body, ageSeconds: Math.max(0, Math.floor(age / 1000)) };
  }

  /**
   * Remembers a value that was asked for at `readAt`, milliseconds since 1970. Its age is counted from there and not from
   * now, because it may have been replaced ever since. One that is known to have been is not remembered at all; for that
   * the whole body is awaited first, which takes the longest.
   */
  async keep(key: string, { headers, size, body }: Omit<Entry, "ageSeconds">, readAt: number, seconds: number): Promise<void> {
    const bytes = await new Response(body).arrayBuffer();
    const known = await this.#cache.match(this.#url(key));
    await known?.body?.cancel();
    if (bytes.byteLength !== size || (known !== undefined && number(known.headers, READ_AT) >= readAt)) {
      return;
    }
    const kept = new Headers(headers);
    for (const name of SET_ASIDE) {
      const value = kept.get(name);
      if (value !== null) {
        kept.set(ASIDE + name, value);
        kept.delete(name);
      }
    }
    kept.set("cache-control", `public, max-age=${seconds}`);
    kept.set(READ_AT, String(readAt));
    kept.set(SIZE, String(size));
    await this.#cache.put(this.#url(key), new Response(bytes, { headers: kept }));
  }

  /** Forgets a value, in this data centre only, and keeps away those that were asked for before. */
  async forget(key: string): Promise<void> {
    await this.#cache.delete(this.#url(key));
    const headers = { "cache-control": `public, max-age=${FORGOTTEN_SECONDS}`, [READ_AT]: String(Date.now()) };
    await this.#cache.put(this.#url(key), new Response("forgotten", { headers }));
  }

  /** Cloudflare asks that entries lie under the Worker's own host. There is nothing secret in them. */
  #url(key: string): string {
    return `${this.#origin}/${encodeKey(key)}`;
  }
}

/** Longer than a read takes until it is kept. */
const FORGOTTEN_SECONDS = 300;

const number = (headers: Headers, name: string): number => Number(headers.get(name) ?? NaN);

/** Leaves out what the cache itself has added. */
function restored(found: Headers): Headers {
  const headers = new Headers();
  for (const [name, value] of found) {
    if (name.startsWith("x-amz-") || OURS.has(name)) {
      headers.set(name, value);
    } else if (name.startsWith(ASIDE)) {
      headers.set(name.slice(ASIDE.length), value);
    }
  }
  return headers;
}

const OURS = new Set([
  "accept-ranges",
  "content-disposition",
  "content-language",
  "content-type",
  "etag",
  "last-modified",
]);
