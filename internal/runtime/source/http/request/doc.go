// Package request holds what can be known of an HTTP source without talking to anyone: it compiles the template of
// the request, says what is wrong with a source's description, and renders the template into URLs and headers.
//
// It is pure. Controllers call Compile and ParseBase to report mistakes before any run; the package above it sends
// what Render makes. Credentials never come here: they are added when a request is sent, and no template can name
// them.
package request
