/** The Worker in the runtime that Cloudflare runs, on this machine, and a client that sends exactly what it is told. */
import http from "node:http";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { Miniflare, Response } from "miniflare";

export const TOKEN = "a-token-that-nobody-guesses";

/** This is build/test. */
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const MAIN = `${ROOT}/build/src/index.js`;
/** The same, with a bucket that can be hindered. */
export const HINDERED = `${ROOT}/test/hindered.mjs`;

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
  text: string;
}

/** The code of S3's document. */
export const code = (answer: Answer): string | undefined =>
  /^<\?xml [^>]*>\s<Error><Code>(\w+)<\/Code><Message>[^<>]+<\/Message><\/Error>\s$/.exec(answer.text)?.[1];

export interface Asked {
  method?: string;
  headers?: http.OutgoingHttpHeaders;
  body?: string | Buffer;
}

export class Worker {
  readonly #miniflare: Miniflare;
  readonly #url: URL;
  readonly #agent = new http.Agent({ keepAlive: true });
  readonly #log: string[];

  private constructor(miniflare: Miniflare, url: URL, log: string[]) {
    this.#miniflare = miniflare;
    this.#url = url;
    this.#log = log;
  }

  static async start(bindings: Record<string, string>, main = MAIN): Promise<Worker> {
    const log: string[] = [];
    const miniflare = new Miniflare({
      modules: true,
      scriptPath: main,
      modulesRoot: ROOT,
      modulesRules: [{ type: "ESModule", include: ["**/*.js", "**/*.mjs"] }],
      compatibilityDate: "2026-07-30",
      bindings,
      r2Buckets: ["BUCKET"],
      host: "127.0.0.1",
      port: 0,
      handleRuntimeStdio(stdout: Readable, stderr: Readable) {
        for (const stream of [stdout, stderr]) {
          stream.setEncoding("utf8").on("data", (text: string) => log.push(text));
        }
      },
    });
    return new Worker(miniflare, await miniflare.ready, log);
  }

  async stop(): Promise<void> {
    this.#agent.destroy();
    await this.#miniflare.dispose();
  }

  get log(): string {
    return this.#log.join("");
  }

  get origin(): string {
    return this.#url.origin;
  }

  bucket() {
    return this.#miniflare.getR2Bucket("BUCKET");
  }

  async cache() {
    return (await this.#miniflare.getCaches()).open("leasehold");
  }

  /** Puts an entry into the cache, as if the Worker had. */
  async remember(path: string, body: string, headers: Record<string, string>): Promise<void> {
    await (await this.cache()).put(this.origin + path, new Response(body, { headers }));
  }

  /** With the token unless `headers` say otherwise; the path goes out as it is written. */
  async ask(path: string, { method = "GET", headers = {}, body }: Asked = {}): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const all = { authorization: `Bearer ${TOKEN}`, ...headers };
    if (body !== undefined && all["content-length"] === undefined && all["transfer-encoding"] === undefined) {
      all["content-length"] = Buffer.byteLength(body);
    }
    const { hostname, port } = this.#url;
    const request = http.request({ hostname, port, path, method, headers: all, agent: this.#agent }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const whole = Buffer.concat(chunks);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: whole, text: whole.toString() });
      });
    });
    request.on("error", reject);
    request.end(body);
    return promise;
  }

  /** Asks until the value comes from the cache: it is put there after the first reader has been served. */
  async hit(path: string, asked: Asked = {}): Promise<Answer> {
    await this.ask(path);
    for (let attempt = 0; attempt < 500; attempt += 1) {
      const answer = await this.ask(path, asked);
      if (answer.headers["x-leasehold-cache"] === "HIT") {
        return answer;
      }
    }
    throw new Error(`${path} never came from the cache`);
  }
}
