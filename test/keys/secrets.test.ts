import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { SqliteStorage } from '../../src/adapters/sqlite/index.ts';
import { createMesh, type IssuedKey, type Mesh } from '../../src/index.ts';
import { newKeyId, newToken } from '../../src/keys/token.ts';
import { startChild } from '../support/children.ts';
import { hear, temporaryFile } from '../support/keys/world.ts';

/** The parts of a token that nobody may find: the secret with its checksum, whole and in pieces. */
function piecesOf(token: string): string[] {
  const secret = token.slice(21);
  return [secret, secret.slice(0, 12), secret.slice(12, 24), secret.slice(24, 36), secret.slice(-12)];
}

/** The names of the texts in which a part of one of the tokens stands. */
function finds(tokens: readonly string[], texts: ReadonlyMap<string, string>): string[] {
  const pieces = tokens.flatMap(piecesOf);
  return [...texts].filter(([, text]) => pieces.some((piece) => text.includes(piece))).map(([name]) => name);
}

/** Every file of a database, as it is on the disk now. */
function filesOf(database: string): [string, string][] {
  const folder = path.dirname(database);
  return readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name), 'latin1')]);
}

function shown(value: unknown): string {
  return inspect(value, {
    depth: Number.POSITIVE_INFINITY,
    showHidden: true,
    getters: true,
    maxArrayLength: null,
    maxStringLength: null,
  });
}

/** Everything that can be done with keys, well and badly. Answers all that came back, without the tokens that were to come. */
async function useAll(mesh: Mesh, tokens: string[]): Promise<unknown[]> {
  const { keys, registry } = mesh;
  const back: unknown[] = [];
  const attempt = async (call: () => Promise<unknown>): Promise<void> => {
    try {
      back.push(await call());
    } catch (error) {
      back.push(error, JSON.stringify(error), (error as Error).stack);
    }
  };
  const keep = ({ token, ...rest }: IssuedKey): string => {
    tokens.push(token);
    back.push(rest);
    return token;
  };
  const handle = await registry.register({ id: 's', heartbeat: 'manual' });
  const root = keep(await keys.issue({ scopes: ['a:*'], name: 'root', metadata: { team: 'x' } }));
  const bound = keep(await keys.issue({ session: handle, scopes: ['a:*'], ttlMs: 60_000 }));
  const once = keep(await keys.issue({ maxUses: 1, scopes: ['a:*'] }));
  const derived = keep(await keys.derive(root, { scopes: ['a:b'] }));
  const rotatedId = (root.split('_') as [string, string])[1];
  const rotated = keep(await keys.rotate(rotatedId, { overlapMs: 60_000 }));
  for (const token of [root, bound, once, derived, rotated]) {
    const id = token.slice(4, 20);
    await attempt(() => keys.verify(token));
    await attempt(() => keys.verify(token, { scope: 'a:b' }));
    await attempt(() => keys.verify(token, { scope: 'c' }));
    await attempt(() => keys.verify(`${token}x`));
    await attempt(() => keys.verify(` ${token}`));
    await attempt(() => keys.verify(token.slice(0, -1)));
    await attempt(() => keys.verify(token, { scope: token }));
    await attempt(() => keys.verify(token, { [token]: 'a' } as object));
    await attempt(() => keys.authenticate(token, { scope: 'c' }));
    await attempt(() => keys.authenticate(`${token}x`));
    await attempt(() => keys.authenticate(newToken(id).token));
    await attempt(() => keys.derive(`${token}x`));
    await attempt(() => keys.derive(token, { scopes: ['z'] }));
    await attempt(() => keys.derive(token, { scopes: [`${token}:*`, token, ''] }));
    for (const mistaken of [token, token.slice(0, 38), token.slice(21), token.slice(21, 40)]) {
      await attempt(() => keys.rotate(mistaken));
      await attempt(() => keys.revoke(mistaken));
      await attempt(() => keys.list({ after: mistaken }));
    }
    for (const session of [token, token.slice(0, 38), token.slice(0, 60)]) {
      await attempt(() => keys.list({ session }));
      await attempt(() => keys.revokeAll({ session }));
      await attempt(() => keys.issue({ session }));
    }
    await attempt(() => keys.list());
    await attempt(() => keys.stats());
  }
  await attempt(() => keys.revoke(rotatedId, { reason: 'lost' }));
  await attempt(() => keys.rotate(rotatedId));
  for (const token of [root, derived, rotated]) await attempt(() => keys.authenticate(token));
  await handle.end();
  await attempt(() => keys.authenticate(bound));
  await attempt(() => keys.revokeAll({ session: 's' }));
  await attempt(() => keys.verify(newToken(newKeyId()).token));
  return back;
}

describe('the secret of a token', () => {
  it('is found in no file, event, error, answer or picture of an object', async () => {
    const file = temporaryFile();
    const printed: unknown[] = [];
    const spies = (['log', 'info', 'warn', 'error', 'debug'] as const).map((name) =>
      vi.spyOn(console, name).mockImplementation((...what) => void printed.push(what)),
    );
    const warning = vi.spyOn(process, 'emitWarning').mockImplementation((what) => void printed.push(what));
    const reported: unknown[] = [];
    const mesh = createMesh({ storage: await SqliteStorage.open(file), onError: (error) => reported.push(error) });
    const events = hear(mesh);
    const tokens: string[] = [];
    const texts = new Map<string, string>();
    const back = await useAll(mesh, tokens);
    await mesh.settled();
    const replayed: unknown[] = [];
    for await (const event of mesh.events({ after: '' })) {
      replayed.push(event);
      if (replayed.length === events.length) break;
    }
    for (const [name, text] of filesOf(file)) texts.set(`${name} while open`, text);
    texts.set('the mesh', shown(mesh));
    texts.set('the manager', shown(mesh.keys) + JSON.stringify(mesh.keys));
    await mesh.close();
    await mesh.keys.verify(tokens[0] as string).catch((error) => back.push(error, (error as Error).stack));
    texts.set('answers and errors', shown(back) + JSON.stringify(back));
    texts.set('events', shown([events, replayed]) + JSON.stringify([events, replayed]));
    texts.set('what was printed or reported', shown([printed, reported]));
    for (const [name, text] of filesOf(file)) texts.set(`${name} when closed`, text);
    for (const spy of [...spies, warning]) spy.mockRestore();

    expect(tokens.length).toBeGreaterThanOrEqual(5);
    expect(events.length).toBeGreaterThan(5);
    expect([...texts.keys()].filter((name) => name.startsWith('mesh.db')).length).toBeGreaterThanOrEqual(3);
    expect(finds(tokens, texts)).toEqual([]);
    // The search does find what is there.
    expect(texts.get('mesh.db when closed')).toContain((tokens[0] as string).slice(4, 20));
    expect(finds(tokens, new Map([['here', `… ${(tokens[0] as string).slice(21, 40)} …`]]))).toEqual(['here']);
    // Node 22 says so of its own driver.
    expect(printed.filter((what) => !String(what).startsWith('SQLite is an experimental feature'))).toEqual([]);
    expect(reported).toEqual([]);
  });

  it('stays in the memory of no process that has used the token and forgotten it', async () => {
    const file = temporaryFile();
    const folder = path.dirname(file);
    const mesh = createMesh({ storage: await SqliteStorage.open(file) });
    const issued = [await mesh.keys.issue({ scopes: ['a'] }), await mesh.keys.issue({ scopes: ['a'], maxUses: 100 })];
    issued.push(await mesh.keys.derive((issued[0] as IssuedKey).token, { scopes: ['a'] }));
    await mesh.registry.register({ id: 's', heartbeat: 'manual' });
    issued.push(await mesh.keys.issue({ session: 's', scopes: ['a'] }));
    const tokens = issued.map(({ token }) => token);
    await mesh.close();
    const [list, snapshot] = [path.join(folder, 'tokens.json'), path.join(folder, 'memory.json')];
    writeFileSync(list, JSON.stringify(tokens));
    const child = startChild('keys/forgetting', [file, list, snapshot], { nodeOptions: ['--expose-gc'] });
    expect(await child.line()).toBe('written');
    expect(await child.ended).toBe(0);
    const memory = readFileSync(snapshot, 'utf8');
    // What it has kept on purpose is there: principals and keys, with their ids.
    expect(memory).toMatch(/kept-\d+/);
    for (const token of tokens) expect(memory).toContain(token.slice(4, 20));
    expect(memory.match(/smk_[0-9A-Za-z]{16}_[0-9A-Za-z]{8}/g) ?? []).toEqual([]);
    expect(finds(tokens, new Map([['memory', memory]]))).toEqual([]);
  });
});
