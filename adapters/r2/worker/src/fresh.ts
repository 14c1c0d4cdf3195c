/** Whether a value of that age, in milliseconds, may still be served. An age that is not known is too old. */
export function fresh(age: number, seconds: number): boolean {
  return age < seconds * 1000;
}
