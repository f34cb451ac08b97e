import type { Draft } from '../storage/draft.ts';
import { keyAfter } from '../storage/keys.ts';
import type { Storage } from '../storage/storage.ts';

const PAGE = 1000;
/** Of a commit that has other things to do. */
const CLEARED_AT_ONCE = 500;

/** Where the directives of a session are, in the order in which they were sent. Settled ones have a store ttl. */
export function directivesOf(session: string): string {
  return `steers/${session}`;
}

/** Stages the removal of all directives of a session, also of what comes until the commit. */
export async function stageWithoutDirectives(draft: Draft, storage: Storage, session: string): Promise<void> {
  const partition = directivesOf(session);
  for (let start = ''; ; ) {
    const page = await storage.list(partition, { start, limit: PAGE, values: false });
    const last = page[PAGE - 1];
    if (!last) {
      draft.deletes.push({ partition, start, limit: PAGE });
      return;
    }
    const end = keyAfter(last.key);
    draft.deletes.push({ partition, start, end, limit: PAGE });
    start = end;
  }
}

/** Stages the removal of the open directives of a session that is replaced, which nobody will settle any more. */
export async function stageWithoutOpenDirectives(draft: Draft, storage: Storage, session: string): Promise<void> {
  const listed = await storage.list(directivesOf(session), { limit: PAGE, values: false });
  const open = listed.filter(({ expiresAt }) => expiresAt === undefined);
  for (const { partition, key, revision } of open.slice(0, CLEARED_AT_ONCE)) {
    // Its owner may be settling it.
    draft.checks.push({ partition, key, revision });
    draft.deletes.push({ partition, key });
  }
}
