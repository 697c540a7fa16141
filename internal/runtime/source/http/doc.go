// Package http reads records from an HTTP API: one walk is a series of GET requests whose answers are JSON.
//
// What lives here: following pages (paginate.go, link.go), the position that a walk has reached (cursor.go,
// timestamp.go), sending one request with retries (client.go), what an answer's status means (classify.go), reading
// its body within bounds (body.go), and the guard that keeps requests inside public networks (egress.go). The
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
// stands still: so a page should hold more records than ever change at one instant. It may checkpoint at every page:
// whatever changes later gets a later time. The cursor that the request carries must be an inclusive lower bound of
// the times that records show, and a record without such a time has no place in the order.
//
// A walk without order checkpoints only at its end, and never beyond the time at which it began, because a record that
// was read early may have changed since. Where records are removed from the list while it is read, numbered pages move
// up in the same way; what that hides is found by the next full walk.
//
// # Credentials
//
// A credential goes only to the origin of the base URL: links and redirects elsewhere are refused. Error messages name
// a request without the values of its query, hold nothing of an answer's body, and have credentials cut out.
package http
