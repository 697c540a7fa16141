// Package scenario is the main job told as a story: a real third-party server, a real cluster, a real database, one
// record after the other arriving, a worker killed in the middle of it, and the checks that nothing was lost or doubled.
//
// The demo prints it for a person (hack/demo), the end-to-end suite runs it as tests (test/e2e): the same steps and the
// same checks. Steps act as a user would, by kubectl, helm and the provider's own API; checks read the provider and the
// database and share no code with the product.
package scenario
