// Package http reads records from an HTTP API: one walk is a series of GET requests whose answers are JSON.
//
// What lives here: following pages (paginate.go, link.go), the position that a walk has reached (cursor.go,
// timestamp.go), reading pages again when the list moved (retrace.go), sending one request with retries (client.go), what
// an answer's status means (classify.go), reading its body within bounds (body.go), what an error may say (message.go),
// and the guard that keeps requests inside public networks (egress.go). The
// request's template is package request below this one. What does not: mapping of records, the database, deciding
// what a failed walk means for a run. The orchestrator calls it, once per run.
//
// # When a walk ends
//
// Without pagination after its one answer; with Link headers at an answer that has no next link; with numbered pages
// at the first page without records. A page with fewer records than asked for is not the end: many servers cap the
// page size silently, and some leave records out of a page after cutting it. The rule costs one request a walk, and
// reads all of every list. Servers that answer a page beyond the last with a 404 in JSON are understood too, if the
// page before it was short.
//
// # Why an ordered walk does not count pages
//
// In a list that is ordered by the time of change, a record that changes during the walk moves to the end, and all
// behind it move up by one: the first of the next page becomes the last of this one and is never read, although the
// cursor moves past it. So a walk in Ascending order asks for the first page again, from the newest time that it has
// seen (inclusive, so that records of equal time are not lost), and counts pages or follows links only while that time
// stands still. It may checkpoint at every page: whatever changes later gets a later time. The cursor that the request
// carries must be an inclusive lower bound of the times that records show, and a record without such a time has no place
// in the order: it is handed over with a fault, moves nothing, and the position passes it when it is set aside.
//
// A walk without order checkpoints only at its end, and never beyond the time at which it began, because a record that
// was read early may have changed since.
//
// # Going back over pages that moved
//
// Where pages have to be counted, the walk goes back over them, from the last but one to the first: what moves up past
// a reader comes towards one that walks the other way. Pages that are as they were are not handed over again, and no
// checkpoint passes the pages before that is done. With order that is so for each stretch of pages that hold one time
// only. Without order it is so when a record behind the first page is at least as new as the walk (less settleSeconds):
// it may have left a place on a page that was read before. The way back costs as many requests as the way there, once,
// so that a busy list is read in bounded time and its cursor still moves.
//
// What stays hidden: a record that moved up past the walk on its way and down past it on its way back, at page
// boundaries both times, which a list sorted by change cannot do; and what moves up because records are removed from the
// list, or leave it by no longer passing the request's filter. That leaves no trace, and only a full walk finds it. A
// walk that has a token or no cursor does not know times and never goes back.
//
// # Credentials
//
// A credential goes only to the origin of the base URL: links and redirects elsewhere are refused. Error messages name
// a request by its template, without the values of its query, and hold nothing of an answer's body. What they quote of
// an upstream, a media type or an origin, is left out when it holds the credential.
package http
