// A worker process of a JavaScript peer. It reads the same task and writes the same events as the workers in Go: see
// child.go and handle.go.
const task = JSON.parse(process.argv[2])
const { default: run } = await import(`./${task.system}.mjs`)

let handled = 0
const latencies = []

const say = (event) => process.stdout.write(JSON.stringify({ ...event, at: Number(now()) }) + '\n')

// Nanoseconds since 1970, to the microsecond.
const now = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n

// Every job's body.
export function handle(input) {
  handled++
  if (task.latency) latencies.push(Number(now() - BigInt(input.at)))
  if (handled === 1) say({ event: 'first', n: handled })
  if (task.sleepMillis > 0) return new Promise((done) => setTimeout(() => finish(done), task.sleepMillis))
  finish()
}

function finish(done) {
  if (handled === task.count) say({ event: 'last', n: handled, latencies })
  done?.()
}

if (task.reportMillis > 0) setInterval(() => say({ event: 'count', n: handled }), task.reportMillis)
const stop = await run(task, handle)
process.on('SIGTERM', async () => {
  await stop()
  process.exit(0)
})
