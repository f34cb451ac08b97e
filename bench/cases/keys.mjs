import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { createMesh } from '../../dist/index.js';
import { SqliteStorage } from '../../dist/sqlite.js';
import { seeded, timed } from '../lib/measure.mjs';
import { notInstalled, peer, versioned } from '../lib/peers.mjs';
import { bareDriver } from '../lib/sqlite.mjs';
import { LASTING } from '../lib/talk.mjs';
import { temporaryFile } from '../lib/temporary.mjs';

const KEYS = 1_000;
/** More than a process remembers anything of, asked one after the other: each is as if for the first time. */
const COLD_KEYS = 12_000;
const VERIFIED = 10_000;
const TOGETHER = 500;
const SCOPE = 'messages:send';
const SECRET = crypto.randomBytes(32).toString('base64url');

const BETTER_AUTH = 'better-auth keeps rows that an administrator can edit and writes each use; its limit of requests is off';

const sha256 = crypto.hash
  ? (text) => crypto.hash('sha256', text, 'hex')
  : (text) => crypto.createHash('sha256').update(text).digest('hex');

async function issued(mesh, count, options) {
  const tokens = [];
  for (let start = 0; start < count; start += TOGETHER) {
    const size = Math.min(TOGETHER, count - start);
    const made = await Promise.all(
      Array.from({ length: size }, () => mesh.keys.issue({ scopes: [SCOPE, 'memory:*'], ...options })),
    );
    tokens.push(...made.map(({ token }) => token));
  }
  return tokens;
}

/** Verifies some anywhere among all, each of which must be good. */
function verifying(count, tokens, verify) {
  const pick = seeded(11);
  return () =>
    timed(count, async () => {
      for (let done = 0; done < count; done++) {
        if (!(await verify(tokens[pick(tokens.length)]))) throw new Error('expected a good key');
      }
    });
}

/** The same one after the other, and on where the last round ended. */
function verifyingInTurn(count, tokens, verify) {
  let at = 0;
  return () =>
    timed(count, async () => {
      for (let done = 0; done < count; done++) {
        if (!(await verify(tokens[at]))) throw new Error('expected a good key');
        at = (at + 1) % tokens.length;
      }
    });
}

const ofOurs =
  ({ keys }) =>
  async (token) =>
    (await keys.verify(token, { scope: SCOPE })).valid;

/** Other ways to verify behind one face: tokens, and what tells whether one is good. */
const OTHERS = {
  async hash() {
    const tokens = Array.from({ length: KEYS }, () => crypto.randomBytes(24).toString('base64url'));
    const byHash = new Map(tokens.map((token) => [sha256(token), { scopes: [SCOPE], expiresAt: Number.POSITIVE_INFINITY }]));
    return {
      tokens,
      async verify(token) {
        const key = byHash.get(sha256(token));
        return key !== undefined && key.expiresAt > Date.now() && key.scopes.includes(SCOPE);
      },
    };
  },
  async jose() {
    const jose = await peer(() => import('jose'));
    if (!jose) return notInstalled('jose');
    const secret = crypto.createSecretKey(SECRET, 'base64url');
    const sign = (index) =>
      new jose.SignJWT({ scope: SCOPE })
        .setProtectedHeader({ alg: 'HS256' })
        .setSubject(`s-${index}`)
        .setExpirationTime('1h')
        .sign(secret);
    return {
      version: versioned('jose'),
      count: 1000,
      tokens: await Promise.all(Array.from({ length: 100 }, (_, index) => sign(index))),
      verify: async (token) => (await jose.jwtVerify(token, secret)).payload.scope === SCOPE,
    };
  },
  async bcrypt() {
    const bcrypt = await peer(() => import('bcryptjs'));
    if (!bcrypt) return notInstalled('bcryptjs');
    const token = crypto.randomBytes(24).toString('base64url');
    const hash = await bcrypt.default.hash(token, 10);
    return { version: versioned('bcryptjs'), count: 2, tokens: [token], verify: (given) => bcrypt.default.compare(given, hash) };
  },
  async betterAuthInMemory() {
    const found = await peer(() => import('better-auth/adapters/memory'));
    if (!found) return notInstalled('better-auth');
    const tables = { user: [], session: [], account: [], verification: [], apikey: [] };
    return betterAuth(found.memoryAdapter(tables));
  },
  async betterAuthOnSqlite() {
    const found = await peer(() => import('@better-auth/kysely-adapter/node-sqlite-dialect'));
    if (!found) return notInstalled('better-auth');
    const { name, DatabaseSync } = bareDriver();
    const database = new DatabaseSync(temporaryFile('auth.db'));
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    const other = await betterAuth({ dialect: new found.NodeSqliteDialect({ database }), type: 'sqlite' });
    return other.skipped ? other : { ...other, version: `${other.version} on ${name}`, close: () => database.close() };
  },
};

async function betterAuth(database) {
  const [auth, plugin, migration] = [
    await peer(() => import('better-auth')),
    await peer(() => import('@better-auth/api-key')),
    await peer(() => import('better-auth/db/migration')),
  ];
  if (!auth || !plugin || !migration) return notInstalled('better-auth');
  const options = {
    database,
    emailAndPassword: { enabled: true },
    secret: SECRET,
    baseURL: 'http://localhost:3000',
    plugins: [plugin.apiKey({ rateLimit: { enabled: false } })],
    telemetry: { enabled: false },
    logger: { disabled: true },
  };
  if (database.dialect) await (await migration.getMigrations(options)).runMigrations();
  const { api } = auth.betterAuth(options);
  const { user } = await api.signUpEmail({ body: { email: 'a@example.com', password: 'a long password', name: 'A' } });
  const tokens = [];
  for (let index = 0; index < 20; index++) {
    tokens.push((await api.createApiKey({ body: { userId: user.id, name: `k-${index}` } })).key);
  }
  return {
    version: `${versioned('better-auth')} with ${versioned('@better-auth/api-key')}`,
    count: 100,
    tokens,
    verify: async (key) => (await api.verifyApiKey({ body: { key } })).valid,
  };
}

function memoryCase({ name, about, other, first, goal }) {
  return {
    name,
    about,
    warmUps: 3,
    first,
    goal,
    async open() {
      const reference = await OTHERS[other]();
      if (reference.skipped) return reference;
      const mesh = createMesh();
      const tokens = await issued(mesh, KEYS);
      const before = (await mesh.stats()).storage.events.newest;
      return {
        ours: verifying(VERIFIED, tokens, ofOurs(mesh)),
        reference: verifying(reference.count ?? VERIFIED, reference.tokens, reference.verify),
        async verify() {
          assert.equal((await mesh.stats()).storage.events.newest, before);
          assert.equal(await ofOurs(mesh)(`${tokens[0].slice(0, -1)}${tokens[0].endsWith('A') ? 'B' : 'A'}`), false);
        },
        notes: () => (reference.version ? [reference.version] : []),
        close: () => mesh.close(),
      };
    },
  };
}

const boundCase = {
  name: 'keys.verify of a key bound to a session, in memory',
  about: 'its session is read each time, so that its end holds at once; reference: a key bound to none',
  warmUps: 3,
  async open() {
    const mesh = createMesh();
    const session = await mesh.registry.register(LASTING);
    const [bound, free] = [await issued(mesh, KEYS, { session }), await issued(mesh, KEYS)];
    return {
      ours: verifying(VERIFIED, bound, ofOurs(mesh)),
      reference: verifying(VERIFIED, free, ofOurs(mesh)),
      verify() {},
      close: () => mesh.close(),
    };
  },
};

/** Keys by hand in SQLite: found by their hash. */
async function tableByHand() {
  const { DatabaseSync } = bareDriver();
  const db = new DatabaseSync(temporaryFile('hand.db'));
  db.exec(`PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
    CREATE TABLE key (hash TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID; BEGIN`);
  const insert = db.prepare('INSERT INTO key VALUES (?, ?)');
  const tokens = Array.from({ length: COLD_KEYS }, () => crypto.randomBytes(24).toString('base64url'));
  for (const token of tokens) {
    insert.run(
      sha256(token),
      JSON.stringify({ scopes: [SCOPE, 'memory:*'], metadata: {}, ancestors: [], createdAt: Date.now() }),
    );
  }
  db.exec('COMMIT');
  const find = db.prepare('SELECT value FROM key WHERE hash = ?');
  return {
    tokens,
    count: 2_000,
    async verify(token) {
      const row = find.get(sha256(token));
      if (row === undefined) return false;
      const { scopes, expiresAt = Number.POSITIVE_INFINITY } = JSON.parse(row.value);
      return expiresAt > Date.now() && scopes.includes(SCOPE);
    },
    close: () => db.close(),
  };
}

function sqliteCase({ name, about, other, first, goal }) {
  return {
    name,
    about,
    warmUps: 3,
    first,
    goal,
    async open() {
      const reference = await other();
      if (reference.skipped) return reference;
      const storage = await SqliteStorage.open(temporaryFile('ours.db'), { cacheBytes: 0 });
      const mesh = createMesh({ storage });
      const tokens = await issued(mesh, COLD_KEYS);
      let commits = 0;
      const commit = storage.commit.bind(storage);
      const counted = (work) => async () => {
        storage.commit = (given) => {
          commits += 1;
          return commit(given);
        };
        const sample = await work();
        delete storage.commit;
        return sample;
      };
      return {
        ours: counted(verifyingInTurn(2_000, tokens, ofOurs(mesh))),
        reference: verifyingInTurn(reference.count, reference.tokens, reference.verify),
        // None of the verifications has written.
        verify: () => assert.equal(commits, 0),
        notes: () => [...(reference.version ? [reference.version] : []), 'no verification has written'],
        async close() {
          await mesh.close();
          reference.close();
        },
      };
    },
  };
}

export const cases = [
  memoryCase({
    name: 'keys.verify in memory (row 15)',
    about: 'with a scope, of a thousand keys; reference: the hash of the token looked up in a map, expiry and scope compared',
    other: 'hash',
    first: { rate: 0.25 },
    goal: { rate: 0.6 },
  }),
  memoryCase({
    name: 'keys.verify in memory, beside better-auth (row 15)',
    about: `reference: verifyApiKey with its adapter for memory. ${BETTER_AUTH}`,
    other: 'betterAuthInMemory',
    first: { faster: 50 },
    goal: { faster: 150 },
  }),
  memoryCase({
    name: 'keys.verify in memory, beside jose (row 15)',
    about: 'reference: jwtVerify of a JWT with HS256, which cannot be revoked and is looked up nowhere',
    other: 'jose',
    first: { faster: 5 },
    goal: { faster: 10 },
  }),
  memoryCase({
    name: 'keys.verify in memory, beside bcryptjs',
    about:
      'reference: compare with cost 10, which is made to be slow for passwords that can be guessed; a key of 192 random bits needs no such thing',
    other: 'bcrypt',
  }),
  boundCase,
  sqliteCase({
    name: 'keys.verify on SQLite, cold (row 16)',
    about: `nothing of ${COLD_KEYS} keys in any cache of ours; reference: the hash of the token looked up in an index by hand, the value parsed`,
    other: tableByHand,
    first: { time: 2.5 },
    goal: { time: 1.6 },
  }),
  sqliteCase({
    name: 'keys.verify on SQLite, cold, beside better-auth (row 16)',
    about: `reference: verifyApiKey with its adapter for SQLite, the same driver, WAL and NORMAL. ${BETTER_AUTH}`,
    other: OTHERS.betterAuthOnSqlite,
    first: { faster: 15 },
    goal: { faster: 30 },
  }),
];
