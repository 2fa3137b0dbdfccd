/**
 * Options of an LRU cache that holds `count` entries.
 *
 * By the library's `max` it would allocate for all of them at once: milliseconds of each start, and memory that most clusters never need.
 */
export function atMost(count: number): { readonly maxSize: number; readonly sizeCalculation: () => number } {
  return { maxSize: count, sizeCalculation: () => 1 };
}
