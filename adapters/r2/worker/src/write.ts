import { Values } from "./cache.ts";
import type { Config } from "./config.ts";
import { described } from "./describe.ts";
import { Refusal, bucketRefused } from "./refusal.ts";
import { parseTags } from "./tags.ts";

/** PUT: writes to the bucket under the request's conditions, and makes this data centre forget what it had. */
export async function put(request: Request, key: string, config: Config): Promise<Response> {
  const options: R2PutOptions = { ...described(request.headers), onlyIf: conditions(request) };
  // R2 takes no body of unknown length.
  if (!/^\d+$/.test(request.headers.get("content-length") ?? "")) {
    throw new Refusal(411, "LengthRequired", "a write says its Content-Length");
  }
  const object = await thenForget(request, key, () => config.bucket.put(key, request.body ?? new Uint8Array(), options));
  if (object === null) {
    throw new Refusal(412, "PreconditionFailed", "the precondition did not hold; nothing was written");
  }
  return new Response(null, { status: 200, headers: { etag: object.httpEtag } });
}

/** PURGE, and POST of KEY?purge: tells this data centre that the value was replaced. */
export async function forget(request: Request, key: string): Promise<Response> {
  await (await Values.open(request.url)).forget(key);
  return new Response(null, { status: 204 });
}

/** DELETE: without conditions, because R2 has none for it. */
export async function remove(request: Request, key: string, config: Config): Promise<Response> {
  for (const name of ["if-match", "if-none-match", "if-unmodified-since"]) {
    if (request.headers.has(name)) {
      throw new Refusal(501, "NotImplemented", `R2 has no conditional delete; ${name} cannot be honoured`);
    }
  }
  await thenForget(request, key, () => config.bucket.delete(key));
  return new Response(null, { status: 204 });
}

function conditions(request: Request): Headers {
  const passed = new Headers();
  for (const name of ["if-match", "if-none-match"]) {
    const header = request.headers.get(name);
    if (parseTags(header) !== undefined && header !== null) {
      passed.set(name, header);
    }
  }
  for (const name of ["if-modified-since", "if-unmodified-since", "range"]) {
    if (request.headers.has(name)) {
      throw new Refusal(501, "NotImplemented", `the header ${name} is not understood in a write`);
    }
  }
  return passed;
}

/** Forgets also what was refused or failed: a refusal says that what is cached is old, a failure may have been a write. */
async function thenForget<T>(request: Request, key: string, write: () => Promise<T>): Promise<T> {
  const values = await Values.open(request.url);
  try {
    return await write();
  } catch (error) {
    throw bucketRefused(error);
  } finally {
    // What was written stays written when the cache fails; the old value then ends with its time.
    await values.forget(key).catch(() => console.warn("a value could not be forgotten"));
  }
}
