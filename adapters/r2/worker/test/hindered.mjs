// The Worker, with a bucket that is as slow, or as broken, as the header x-hinder of a request says.
import worker from "../build/src/index.js";

const after = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Lets a body wait in its middle, and break there if it is to. */
function hindered(body, milliseconds, breaks) {
  let first = true;
  return body.pipeThrough(
    new TransformStream({
      async transform(chunk, controller) {
        if (first) {
          first = false;
          controller.enqueue(chunk.subarray(0, 1));
          await after(milliseconds);
          if (breaks) {
            throw new Error("broken");
          }
          chunk = chunk.subarray(1);
        }
        controller.enqueue(chunk);
      },
    }),
  );
}

export default {
  fetch(request, env, context) {
    const [how = "", text = "0"] = (request.headers.get("x-hinder") ?? "").split(" ");
    const milliseconds = Number(text);
    const BUCKET = {
      head: (...of) => env.BUCKET.head(...of),
      put: (...of) => env.BUCKET.put(...of),
      delete: (...of) => env.BUCKET.delete(...of),
      async get(key, options) {
        const object = await env.BUCKET.get(key, options);
        if (how === "answer") {
          await after(milliseconds);
        }
        if (object === null || how === "" || how === "answer") {
          return object;
        }
        const body = hindered(object.body, milliseconds, how === "break");
        return new Proxy(object, {
          get: (target, name) => {
            const value = name === "body" ? body : target[name];
            return typeof value === "function" ? value.bind(target) : value;
          },
        });
      },
    };
    return worker.fetch(request, { ...env, BUCKET }, context);
  },
};
