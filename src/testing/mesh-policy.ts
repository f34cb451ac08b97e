import type * as z from 'zod';
import { hasMethods, policy } from '../kernel/inputs.ts';
import type { Mesh } from '../mesh.ts';
import { SessionRegistry } from '../registry/session-registry.ts';

const isMesh = (value: unknown): value is Mesh =>
  hasMethods(value, ['on', 'off', 'close']) && (value as Mesh).registry instanceof SessionRegistry;

export const meshPolicy: z.ZodType<Mesh> = policy(isMesh, 'a mesh');
