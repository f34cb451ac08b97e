import { spawn } from 'node:child_process';
import path from 'node:path';
import { bundle, load, temporaryFolder } from './bundle.mjs';

const ROLES = ['writer', 'writer', 'consumer', 'consumer', 'killer'];
const ROUND_MS = 20_000;

/**
 * Real processes on one file: writers, consumers and killers, each killed at random and replaced, in rounds with a fresh
 * file each. At the end of a round what is there is compared with what was acknowledged.
 */
export async function soakCrashes({ minutes, seed }) {
  const folder = temporaryFolder();
  const script = await bundle('test/support/crash/member.child.ts', folder);
  const { judge } = await load('test/support/crash/judge.ts', folder);
  const { SeededRandom } = await load('src/testing/random.ts', folder);
  const random = new SeededRandom(seed);
  const deadline = Date.now() + minutes * 60_000;
  const total = { kills: 0, sent: 0, delegated: 0, counted: 0, trees: 0, revoked: 0, lost: 0, doubled: 0, torn: 0 };
  for (let round = 1; Date.now() < deadline; round++) {
    const file = path.join(folder, `mesh-${round}.db`);
    const until = Math.min(deadline, Date.now() + ROUND_MS);
    const { kills, ledgers } = await killAtRandom({ script, file, folder, round, random, until });
    const verdict = await judge(file, ledgers);
    total.kills += kills;
    for (const [name, value] of Object.entries(verdict)) total[name] += Array.isArray(value) ? value.length : value;
    for (const kind of ['lost', 'doubled', 'torn'])
      for (const text of verdict[kind].slice(0, 10)) console.log(`${kind}: ${text}`);
    console.log(`round ${round}: ${told(total)}`);
  }
  return total.lost + total.doubled + total.torn === 0;
}

function told({ kills, sent, delegated, counted, trees, revoked, lost, doubled, torn }) {
  const acknowledged = `${sent} messages, ${delegated} tasks, ${counted} counts, ${trees} kills of trees, ${revoked} revocations`;
  return `${kills} processes killed; acknowledged ${acknowledged}; ${lost} lost, ${doubled} doubled, ${torn} torn`;
}

async function killAtRandom({ script, file, folder, round, random, until }) {
  const ledgers = [];
  let kills = 0;
  const live = async (role, n) => {
    while (Date.now() < until) {
      const ledger = path.join(folder, `ledger-${round}-${ledgers.length}`);
      ledgers.push(ledger);
      const child = spawn(process.execPath, ['--no-warnings', script, file, ledger, role, `${role}-${n}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve(signal ?? code)));
      // Now and then before it has even begun.
      if (random.chance(0.9)) await Promise.race([new Promise((resolve) => child.stdout.once('data', resolve)), ended]);
      await new Promise((resolve) => setTimeout(resolve, random.below(random.chance(0.5) ? 300 : 3000)));
      child.kill('SIGKILL');
      const end = await ended;
      if (end !== 'SIGKILL') throw new Error(`expected ${role} to be killed, got it ended by itself (${end})`);
      kills += 1;
    }
  };
  await Promise.all(ROLES.map(live));
  return { kills, ledgers };
}
