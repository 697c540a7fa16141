// graphile-worker with its best settings found: a local queue of 500, completions written in batches.
import { Logger, run } from 'graphile-worker'

export default async function (task, handle) {
  const quiet = new Logger(() => (level, message) => level === 'error' && console.error(message))
  const local = Math.min(500, task.concurrency)
  const runner = await run({
    connectionString: task.uri,
    taskList: { noop: handle },
    preset: {
      worker: {
        connectionString: task.uri,
        concurrentJobs: task.latency ? 10 : Math.min(task.concurrency, 200),
        maxPoolSize: 10,
        localQueue: task.latency ? { size: -1 } : { size: local },
        completeJobBatchDelay: task.latency ? -1 : 0,
        failJobBatchDelay: 0,
        logger: quiet,
      },
    },
    noHandleSignals: true,
    crontab: '',
    logger: quiet,
  })
  return () => runner.stop()
}
