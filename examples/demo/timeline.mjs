// The story of a run, told by its events.

const BLOCKS = ' ▁▂▃▄▅▆▇█';
const COLUMNS = 40;

/** One line for each event that people would tell, and how many files were done when. */
export function timelineOf(events) {
  const [{ at: begin }] = events;
  const told = events.flatMap((event) => {
    const text = sentenceOf(event);
    return text === undefined ? [] : [`${((event.at - begin) / 1000).toFixed(2).padStart(6)} s  ${text}`];
  });
  return [...told, '', `   files  ${sparkline(events, begin)}`];
}

function sentenceOf(event) {
  const { name, session, by, step, reason, outcome, graceful, change, recipients, epoch, task } = event;
  switch (name) {
    case 'collaboration_created':
      return `${event.initiator} begins the collaboration`;
    case 'session_created':
      return `${session} is there${epoch > 1 ? ` again, in epoch ${epoch}` : ''}${event.parent ? `, below ${event.parent}` : ''}`;
    case 'session_offline':
      return `${session} is missed`;
    case 'session_ended':
      return `${session} has ended`;
    case 'agent_killed':
      return `${session} is killed${graceful ? ', and went by itself' : ''}`;
    case 'agent_steered':
      return `${by} steers ${session}`;
    case 'steer_settled':
      return `${session} has ${outcome} it`;
    case 'step_completed':
      return `${by} has completed the step ${step}`;
    case 'task_retried':
      return `task ${task} of ${session} is redelivered: ${reason}`;
    case 'task_offered':
      return `${event.from} offers the final review`;
    case 'task_updated':
      return change === 'accepted' ? `${session} takes it` : undefined;
    case 'message_sent':
      return recipients === undefined ? undefined : `${event.from} tells all ${recipients}`;
    case 'collaboration_completed':
      return `${by} completes the collaboration`;
    default:
      return undefined;
  }
}

function sparkline(events, begin) {
  const done = events.filter(({ name, step }) => name === 'task_completed' && step === 'survey');
  const span = Math.max(1, events.at(-1).at - begin);
  const counts = new Array(COLUMNS).fill(0);
  for (const { at } of done) counts[Math.min(COLUMNS - 1, Math.floor(((at - begin) / span) * COLUMNS))] += 1;
  const most = Math.max(...counts);
  return counts.map((count) => BLOCKS[count === 0 ? 0 : Math.max(1, Math.round((count / most) * (BLOCKS.length - 1)))]).join('');
}
