import { Refusal } from "./refusal.ts";

/** What the Worker is bound to: see wrangler.toml. */
export interface Env {
  BUCKET?: R2Bucket;
  TOKEN?: string;
  CACHE_SECONDS?: string;
  CACHE_BYTES_MAX?: string;
}

export interface Config {
  bucket: R2Bucket;
  token: string;
  /** How old a cached value may be when it is served; 0 for no cache. */
  cacheSeconds: number;
  /** The largest value that is cached. */
  cacheBytesMax: number;
}

const DAY_SECONDS = 86_400;
/** A value is held in memory until it is cached, and a Worker has 128 MiB for all that it does at once. */
const CACHE_BYTES_LIMIT = 32 * 1024 * 1024;

/** Reads the bindings, or refuses to serve anything: a Worker that lacks its token must not be open to everybody. */
export function configure(env: Env): Config {
  if (env.TOKEN === undefined || env.TOKEN === "") {
    throw misconfigured("the secret TOKEN is not set; run: npx wrangler secret put TOKEN");
  }
  if (!/^[\x21-\x7e]+$/.test(env.TOKEN)) {
    throw misconfigured("the secret TOKEN has spaces or other characters that no header carries; set another");
  }
  if (env.BUCKET === undefined) {
    throw misconfigured("no bucket is bound as BUCKET; see wrangler.toml");
  }
  return {
    bucket: env.BUCKET,
    token: env.TOKEN,
    cacheSeconds: whole("CACHE_SECONDS", env.CACHE_SECONDS ?? "60", DAY_SECONDS),
    cacheBytesMax: whole("CACHE_BYTES_MAX", env.CACHE_BYTES_MAX ?? "8388608", CACHE_BYTES_LIMIT),
  };
}

function whole(name: string, text: string, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (!(value <= max)) {
    throw misconfigured(`${name} is not a whole number from 0 to ${max}; see wrangler.toml`);
  }
  return value;
}

const misconfigured = (message: string): Refusal => new Refusal(500, "Misconfigured", message);
