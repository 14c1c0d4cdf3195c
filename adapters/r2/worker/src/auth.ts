/**
 * Whether an Authorization header carries the token.
 *
 * How long this takes depends on the length of what is offered, and on nothing else: not on the token, nor on how much of
 * it was guessed right.
 */
export async function authorized(header: string | null, token: string): Promise<boolean> {
  const offered = /^Bearer +(\S+) *$/i.exec(header ?? "")?.[1] ?? "";
  return equal(offered, token);
}

/** Compares hashes, which are equally long whatever is hashed, and looks at every byte of them. */
export async function equal(offered: string, expected: string): Promise<boolean> {
  const [a, b] = await Promise.all([sha256(offered), sha256(expected)]);
  let difference = a.length ^ b.length;
  for (let index = 0; index < a.length; index += 1) {
    difference |= (a[index] ?? 0) ^ (b[index] ?? 0);
  }
  return difference === 0;
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}
