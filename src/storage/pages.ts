import { systemClock } from '../kernel/clock.ts';
import { keyAfter } from './keys.ts';
import type { KeyRange, ListRange, Storage, StoredRecord } from './storage.ts';

const PAGE = 1000;

/** The records of a range in key order, in pages, each of a snapshot of its own. The loop is yielded between pages. */
export async function* pagesOf(
  storage: Pick<Storage, 'list' | 'clock'>,
  partition: string,
  range: KeyRange & Pick<ListRange, 'values'> = {},
): AsyncGenerator<readonly StoredRecord[], void, undefined> {
  let rest = range;
  for (;;) {
    const page = await storage.list(partition, { ...rest, limit: PAGE });
    yield page;
    const last = page[page.length - 1];
    if (!last || page.length < PAGE) return;
    rest = { ...range, start: keyAfter(last.key) };
    await new Promise<void>((resolve) => (storage.clock ?? systemClock).nextTurn(resolve));
  }
}
