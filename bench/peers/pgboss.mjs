// pg-boss with its best settings found: batches of 500 by four loops that go on while batches are full, woken by NOTIFY.
import { PgBoss } from 'pg-boss'

const queue = 'noop'

export default async function (task, handle) {
  const boss = new PgBoss({ connectionString: task.uri, max: 10, notify: true })
  boss.on('error', (err) => console.error(err))
  await boss.start()
  if (task.enqueue > 0 || task.setUp) {
    await boss.createQueue(queue)
    for (let left = task.enqueue; left > 0; left -= 5000) {
      await boss.insert(queue, Array.from({ length: Math.min(left, 5000) }, () => ({ data: { at: 0 } })))
    }
    await boss.stop({ graceful: false })
    process.exit(0)
  }
  const options = task.latency
    ? { batchSize: 1, localConcurrency: 10, pollingIntervalSeconds: 0.5 }
    : { batchSize: Math.min(500, task.concurrency), localConcurrency: 4, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true }
  await boss.work(queue, options, async (jobs) => {
    await Promise.all(jobs.map((job) => handle(job.data)))
  })
  return () => boss.stop({ graceful: true, timeout: 10_000 })
}
