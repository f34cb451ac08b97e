import { boundCases, checkCases } from './conformance/checks.ts';
import { closingCases } from './conformance/closing.ts';
import { deleteCases } from './conformance/deletes.ts';
import { expiryCases, touchCases } from './conformance/expiry.ts';
import { hintCases } from './conformance/hints.ts';
import { limitCases } from './conformance/limits.ts';
import { orderCases } from './conformance/order.ts';
import { type PersistenceCase, persistenceCases } from './conformance/persistence.ts';
import { readCases } from './conformance/reads.ts';
import { refusalCases } from './conformance/refusals.ts';
import { revisionCases, stampCases } from './conformance/revisions.ts';
import type { ConformanceCase } from './conformance/story.ts';
import { takeCases } from './conformance/takes.ts';
import { valueCases } from './conformance/values.ts';
import { writeCases } from './conformance/writes.ts';

export type { PersistenceCase, PersistentStore } from './conformance/persistence.ts';
export type { ConformanceCase, OpenOptions, OpenStorage } from './conformance/story.ts';

/**
 * What every storage must do, case by case. They need no test runner:
 *
 * ```ts
 * for (const c of storageConformance) it(c.name, () => c.run(({ clock }) => MyStorage.open(freshPlace(), { clock })));
 * ```
 *
 * The function that opens is called once in each case and gives a storage that is new and empty; the case closes it. A
 * storage that takes the `clock` it is handed is judged to the millisecond. One that lives by a clock of its own passes
 * the same cases, and they wait for it: up to a second each where something has to expire.
 */
export const storageConformance: readonly ConformanceCase[] = [
  ...orderCases,
  ...readCases,
  ...valueCases,
  ...refusalCases,
  ...limitCases,
  ...checkCases,
  ...boundCases,
  ...revisionCases,
  ...stampCases,
  ...expiryCases,
  ...touchCases,
  ...deleteCases,
  ...takeCases,
  ...writeCases,
  ...hintCases,
  ...closingCases,
];

/**
 * What a storage whose `durability` is not `memory` must do besides:
 *
 * ```ts
 * let place: string;
 * const open = ({ clock }) => MyStorage.open((place = freshPlace()), { clock });
 * const reopen = ({ clock }) => MyStorage.open(place, { clock });
 * for (const c of persistenceConformance) it(c.name, () => c.run({ open, reopen }));
 * ```
 */
export const persistenceConformance: readonly PersistenceCase[] = persistenceCases;
