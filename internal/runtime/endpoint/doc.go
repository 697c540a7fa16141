// Package endpoint serves job types that a pool declares with a URL: it posts each run to it, signed by Standard
// Webhooks (https://www.standardwebhooks.com), and reads from the answer what becomes of the run.
//
// The claim is this process's, so a slow endpoint keeps its lease by doing nothing. While its request is open it may use
// the worker-local API, with a token of that claim alone: ask for more time, report progress, start children, look
// whether it is still wanted. It may also complete the run itself, inside a transaction in the same database; whatever
// then becomes of the request, the database knows how the run ended, and the settle finds out.
//
// Here are a Service for a process, a Handler for a type, and the API. When runs are claimed and settled is package
// worker's business; which types there are, and who puts a Service together, package process's.
package endpoint
