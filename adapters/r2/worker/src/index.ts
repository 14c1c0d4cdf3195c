/** Reads of an R2 bucket through the cache of the nearest data centre. What it promises is in README.md. */
import { authorized } from "./auth.ts";
import { type Env, configure } from "./config.ts";
import { keyOfUrl } from "./key.ts";
import { read } from "./read.ts";
import { Refusal } from "./refusal.ts";
import { forget, put, remove } from "./write.ts";

export default {
  async fetch(request, env, context): Promise<Response> {
    try {
      return await serve(request, env, context);
    } catch (error) {
      await readAway(request);
      if (error instanceof Refusal) {
        return error.response(request.method);
      }
      // Its message may hold anything, so only its kind is told.
      console.error(`unexpected: ${error instanceof Error ? error.name : typeof error}`);
      return new Refusal(500, "InternalError", "the Worker failed; try again").response(request.method);
    }
  },
} satisfies ExportedHandler<Env>;

async function serve(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
  const config = configure(env);
  if (!(await authorized(request.headers.get("authorization"), config.token))) {
    throw new Refusal(401, "AccessDenied", "send the token as: Authorization: Bearer TOKEN", {
      "www-authenticate": "Bearer",
    });
  }
  switch (request.method) {
    case "GET":
    case "HEAD":
      return read(request, keyOfUrl(request.url), config, context);
    case "PUT":
      return put(request, keyOfUrl(request.url), config);
    case "DELETE":
      return remove(request, keyOfUrl(request.url), config);
    case "PURGE":
      return forget(request, keyOfUrl(request.url));
    case "POST": {
      // The same for whom something on the way lets no PURGE pass.
      const url = request.url.replace(/\?purge=?$/, "");
      if (url !== request.url) {
        return forget(request, keyOfUrl(url));
      }
    }
  }
  throw new Refusal(405, "MethodNotAllowed", "there are GET, HEAD, PUT, DELETE and PURGE of a key, and POST of KEY?purge", {
    allow: "GET, HEAD, PUT, DELETE, PURGE, POST",
  });
}

const READ_AWAY_BYTES_MAX = 65_536;

/**
 * Reads what a refused request still has to say, if that is little: the connection would be closed over it, and with some
 * luck for the client after the refusal has arrived.
 */
async function readAway(request: Request): Promise<void> {
  if (request.body === null || request.bodyUsed) {
    return;
  }
  let left = READ_AWAY_BYTES_MAX;
  try {
    for await (const chunk of request.body) {
      left -= chunk.length;
      if (left < 0) {
        return;
      }
    }
  } catch {
    // The client has gone.
  }
}
