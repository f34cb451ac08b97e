import type * as z from 'zod';
import { hasMethods, policy } from '../kernel/inputs.ts';
import type { Storage } from './storage.ts';

const METHODS = ['get', 'list', 'commit', 'watch', 'close', 'now'];

const isStorage = (value: unknown): value is Storage => hasMethods(value, METHODS);

export const storagePolicy: z.ZodType<Storage> = policy(isStorage, 'a storage with get, list, commit, watch, close and now');
