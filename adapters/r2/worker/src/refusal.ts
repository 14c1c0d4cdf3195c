/** What the Worker says no with: a status, and S3's document with a code and a sentence. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Record<string, string>;

  constructor(status: number, code: string, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }

  response(method: string): Response {
    const headers = { "content-type": "application/xml", "cache-control": "no-store", ...this.headers };
    const document =
      '<?xml version="1.0" encoding="UTF-8"?>\n' +
      `<Error><Code>${this.code}</Code><Message>${escape(this.message)}</Message></Error>\n`;
    return new Response(method === "HEAD" ? null : document, { status: this.status, headers });
  }
}

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export const badRequest = (code: string, message: string): Refusal => new Refusal(400, code, message);

/** R2's errors end with their number: "get: The specified key does not exist. (10007)". */
function numberOf(error: unknown): number {
  const found = error instanceof Error ? /\((\d+)\)\s*$/.exec(error.message) : null;
  return Number(found?.[1] ?? 0);
}

const METADATA_TOO_LARGE = 10012;
const BAD_DIGEST = 10037;
const TOO_MANY_REQUESTS = 10058;

/** What to answer when the bucket fails. Its own words stay here: nobody has checked what is in them. */
export function bucketRefused(error: unknown): Refusal {
  const number = numberOf(error);
  switch (number) {
    case METADATA_TOO_LARGE:
      return badRequest("MetadataTooLarge", "the metadata is larger than R2 takes");
    case BAD_DIGEST:
      return badRequest("BadDigest", "the body is not the one that content-md5 is of");
    case TOO_MANY_REQUESTS:
      return new Refusal(429, "TooManyRequests", "R2 takes about one write a second on one key; wait", {
        "retry-after": "1",
      });
    default:
      return new Refusal(502, "BucketFailed", `the bucket failed${number > 0 ? ` with R2's error ${number}` : ""}; try again`);
  }
}
