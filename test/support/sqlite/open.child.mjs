// Opens a file when told to, commits once, and reports.
import { createInterface } from 'node:readline';
import { SqliteStorage } from '../../../dist/sqlite.js';

const [file, key, uid, busyTimeoutMs = '30000'] = process.argv.slice(2);
if (uid) {
  // The driver is loaded before, for its files may be another user's.
  if (!process.getBuiltinModule('node:sqlite')) await import('@photostructure/sqlite');
  process.setgroups([]);
  process.setgid(Number(uid));
  process.setuid(Number(uid));
}
process.stdout.write('ready\n');
const lines = createInterface({ input: process.stdin });
await new Promise((resolve) => lines.once('line', resolve));
lines.close();
try {
  const storage = await SqliteStorage.open(file, { busyTimeoutMs: Number(busyTimeoutMs) });
  const { revision } = await storage.commit({ puts: [{ partition: 'opened', key, value: process.pid }] });
  await storage.close();
  process.stdout.write(`${JSON.stringify({ revision })}\n`);
} catch (error) {
  process.stdout.write(`${JSON.stringify({ code: error.code, message: error.message })}\n`);
}
process.exitCode = 0;
