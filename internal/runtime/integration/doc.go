// Package integration runs subscriptions: it fetches records, maps them, decides what each one changes and commits row,
// audit, event and cursor in one transaction per chunk, under the claim's fence.
//
// One run is one execution of the job type integration.sync. Fetching, mapping and writing overlap (pipeline.go), with
// memory bounded by bytes; what a record means is decided by pure functions (diff.go); a chunk is one transaction
// (chunk.go) that either stands whole or left no trace. What lives elsewhere: reading upstreams (source), expressions
// and values (mapping), tables (sink), event payloads (events), starting runs in time (schedule), the queue (jobs).
package integration
