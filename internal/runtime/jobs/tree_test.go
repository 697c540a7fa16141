package jobs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncline-dev/syncline/internal/runtime/jobs"
)

// tree is a test's runs by name.
type tree struct {
	*queue
	inc    *jobs.Incarnation
	runs   map[string]int64
	claims map[string]*jobs.Claim
}

// newTree starts the run root and, under running parents, the named children: "b<a cancel" is a child b of a. Those in pending
// are not claimed: their names end with a star.
func newTree(t *testing.T, children ...string) *tree {
	t.Helper()
	q := newQueue(t)
	tr := &tree{queue: q, inc: q.register(), runs: map[string]int64{}, claims: map[string]*jobs.Claim{}}
	tr.runs["root"] = q.start(jobs.StartParams{Tenant: "t"})
	tr.claims["root"] = q.claimOne(tr.inc)
	for _, text := range children {
		var name, parent, policy string
		if _, err := fmt.Sscanf(strings.ReplaceAll(text, "<", " "), "%s %s %s", &name, &parent, &policy); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		name, pending := strings.CutSuffix(name, "*")
		p := jobs.StartParams{ClosePolicy: jobs.ClosePolicy(policy)}
		if pending {
			p.Delay = time.Hour
		}
		tr.runs[name] = q.spawn(tr.claims[parent], name, p)
		if !pending {
			tr.claims[name] = q.claimOne(tr.inc)
		}
	}
	return tr
}

func (tr *tree) cancel(name string, want jobs.CancelAnswer) {
	tr.t.Helper()
	a, err := jobs.Cancel(tr.t.Context(), tr.db, jobs.CancelParams{Run: tr.runs[name], Tenant: "t", By: "ann", Reason: "wrong order"})
	if err != nil || a != want {
		tr.t.Fatalf("cancel of %s answered %q, %v, want %q", name, a, err, want)
	}
}

// want compares what became of runs: cancelled, running, ..., or asked for a running one that is to stop.
func (tr *tree) want(states ...string) {
	tr.t.Helper()
	for _, text := range states {
		name, want, _ := strings.Cut(text, " ")
		got := tr.status(tr.runs[name])
		if got == "running" && one[bool](tr.queue, `SELECT EXISTS (SELECT FROM cancel_request WHERE run = $1 AND cascade)`, tr.runs[name]) {
			got = "asked"
		}
		if got == "pending" {
			got = tr.place(tr.runs[name])
		}
		if got != want {
			tr.t.Errorf("run %s is %s, want %s", name, got, want)
		}
	}
	if tr.t.Failed() {
		tr.t.FailNow()
	}
	tr.check()
}

func (tr *tree) end(name string, outcome jobs.Outcome) {
	tr.t.Helper()
	s := jobs.Settlement{Claim: tr.claims[name], Outcome: outcome, Code: "x", Message: "because"}
	if outcome == jobs.Completed {
		s = completed(tr.claims[name])
	}
	tr.settle(tr.inc, s)
}

func TestCancellingALeafLeavesItsTreeAloneW17(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root terminate", "b<a terminate", "sibling<a terminate", "c<b terminate", "d*<b cancel")
	tr.cancel("b", jobs.CancelAsked)
	tr.want("root running", "a running", "sibling running", "b asked", "c asked", "d cancelled")
}

func TestAnAbandonedChildShieldsItsTreeW18(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root abandon", "b<a terminate", "c*<a terminate", "d<root terminate")
	tr.cancel("root", jobs.CancelAsked)
	tr.want("root asked", "a running", "b running", "c scheduled", "d asked")
	tr.end("root", jobs.Cancelled)
	tr.want("root cancelled", "a running", "b running", "c scheduled", "d asked")
}

func TestAFailedParentClosesItsChildrenInTheSameTransactionW16(t *testing.T) {
	t.Parallel()
	for _, outcome := range []jobs.Outcome{jobs.Failed, jobs.TimedOut, jobs.Cancelled} {
		tr := newTree(t, "a<root terminate", "b*<a terminate", "c*<root terminate", "d*<root abandon")
		tr.end("root", outcome)
		tr.want("root "+string(outcome), "a asked", "b cancelled", "c cancelled", "d scheduled")
		want := fmt.Sprintf(`cancel requested by "run %d": its parent ended as %s`, tr.runs["root"], outcome)
		if got := one[string](tr.queue, `SELECT error FROM run WHERE id = $1`, tr.runs["c"]); got != want {
			t.Errorf("the child says %q, want %q", got, want)
		}
	}
}

func TestALostParentClosesItsChildrenW16(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a*<root terminate")
	tr.exec(`UPDATE run SET lease_losses = $2 WHERE id = $1`, tr.runs["root"], jobs.MaxLeaseLosses)
	tr.expire(tr.inc)
	tr.sweep()
	tr.want("root lost", "a cancelled")
}

func TestAParentThatCompletesLeavesItsChildrenAloneW16(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root terminate", "b*<root cancel")
	tr.end("root", jobs.Completed)
	tr.want("root completed", "a running", "b scheduled")
	tr.cancel("root", jobs.CancelEnded)
	tr.want("root completed", "a running", "b scheduled")
}

func TestCancelIsOneTransactionAndRepeatableW20(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a*<root terminate", "b*<root terminate")
	tx := tr.begin()
	if _, err := jobs.Cancel(t.Context(), tx, jobs.CancelParams{Run: tr.runs["root"], Tenant: "t"}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.want("root running", "a scheduled", "b scheduled")
	// Somebody holds a child: it gets a request, and asking again finds it.
	held := tr.begin()
	if _, err := held.Exec(t.Context(), `SELECT FROM scheduled WHERE id = $1 FOR UPDATE`, tr.runs["a"]); err != nil {
		t.Fatal(err)
	}
	tr.end("root", jobs.Failed)
	tr.want("root failed", "a scheduled", "b cancelled")
	commit(t, held)
	tr.cancel("root", jobs.CancelEnded)
	tr.want("a cancelled")
}

func TestAChildThatSomebodyHoldsIsEndedByTheSweepW20(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a*<root terminate")
	held := tr.begin()
	if _, err := held.Exec(t.Context(), `SELECT FROM scheduled WHERE id = $1 FOR UPDATE`, tr.runs["a"]); err != nil {
		t.Fatal(err)
	}
	tr.end("root", jobs.Failed)
	commit(t, held)
	tr.sweep()
	tr.want("a cancelled")
}

func TestACancelWithoutCascadeIsOfOneRun(t *testing.T) {
	t.Parallel()
	alone := func(tr *tree, name string, want jobs.CancelAnswer) {
		t.Helper()
		p := jobs.CancelParams{Run: tr.runs[name], Tenant: "t", By: "ann", NoCascade: true}
		if a, err := jobs.Cancel(t.Context(), tr.db, p); err != nil || a != want {
			t.Fatalf("cancel answered %q, %v, want %q", a, err, want)
		}
	}
	tr := newTree(t, "a*<root terminate")
	alone(tr, "root", jobs.CancelAsked)
	tr.end("root", jobs.Cancelled)
	tr.want("root cancelled", "a scheduled")
	tr.cancel("root", jobs.CancelEnded)
	tr.want("a cancelled")

	tr = newTree(t, "a<root terminate", "b*<a terminate")
	tr.settle(tr.inc, retried(tr.claims["a"], false))
	alone(tr, "a", jobs.CancelDone)
	tr.want("root running", "a cancelled", "b scheduled")

	tr = newTree(t, "a*<root abandon")
	alone(tr, "root", jobs.CancelAsked)
	tr.want("root running")
	tr.cancel("root", jobs.CancelAsked)
	tr.want("root asked", "a scheduled")
}

func TestAParentEndsAfterItsChildrenOfThePolicyCancelW27(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root cancel", "b<a cancel", "c<root terminate")
	tr.end("root", jobs.Failed)
	tr.want("root waiting", "a asked", "b asked", "c asked")
	if got := tr.claim(tr.inc, 5); len(got) != 0 {
		t.Fatal("a closing run was claimed")
	}
	tr.end("c", jobs.Cancelled)
	tr.sweep()
	tr.want("root waiting")
	tr.end("a", jobs.Cancelled)
	tr.want("root waiting", "a waiting")
	tr.cancel("a", jobs.CancelEnded)
	tr.want("a waiting")
	// A child that ends as completed has ended too.
	if r, err := tr.store.Settle(t.Context(), tr.inc, []jobs.Settlement{completed(tr.claims["b"])}); err != nil || r[0] != jobs.Done {
		t.Fatalf("settle answered %v, %v", r, err)
	}
	tr.want("root failed", "a cancelled", "b completed")
	want := "x because failed"
	if got := one[string](tr.queue, `SELECT error_code || ' ' || error || ' ' || status FROM run WHERE id = $1`, tr.runs["root"]); got != want {
		t.Errorf("the parent ended as %q, want %q", got, want)
	}
	if n := one[int](tr.queue, `SELECT count(*)::int FROM run WHERE finished_at IS NULL`); n != 0 {
		t.Errorf("%d ended runs have no end", n)
	}
}

func TestAClosingParentIsCancelledWithoutAClaimW27(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root terminate", "b<a cancel")
	tr.settle(tr.inc, jobs.Settlement{Claim: tr.claims["a"], Outcome: jobs.Snoozed, Delay: time.Hour})
	tr.cancel("a", jobs.CancelDone)
	tr.want("a waiting", "b asked")
	tr.exec(`INSERT INTO deadline (run, at) VALUES ($1, clock_timestamp())`, tr.runs["a"])
	tr.sweep()
	tr.want("a waiting")
	tr.end("b", jobs.Cancelled)
	tr.want("a cancelled", "root running")
}

func TestCancelKeepsWhoAndWhyW27(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root terminate", "b*<a terminate")
	tr.cancel("a", jobs.CancelAsked)
	notices := tr.beat(tr.renewal(), tr.inc, jobs.BeatParams{Number: 1}).Cancels
	if len(notices) != 1 || notices[0].By != "ann" || notices[0].Reason != "wrong order" {
		t.Fatalf("the beat carries %+v", notices)
	}
	cause := &notices[0].CancelRequested
	tr.settle(tr.inc, jobs.TypeConfig{}.Settle(tr.claims["a"], nil, errBoom, cause))
	for _, name := range []string{"a", "b"} {
		got := one[string](tr.queue, `SELECT error_code || ': ' || error FROM run WHERE id = $1`, tr.runs[name])
		if want := `cancelled: cancel requested by "ann": wrong order`; got != want {
			t.Errorf("run %s says %q, want %q", name, got, want)
		}
	}
}

func TestCancelOfAnotherTenantsRunIsANoOpW39(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a*<root terminate")
	for _, tenant := range []string{"", "u"} {
		p := jobs.CancelParams{Run: tr.runs["a"], Tenant: tenant, By: "me"}
		if a, err := jobs.Cancel(t.Context(), tr.db, p); err != nil || a != jobs.CancelUnknown {
			t.Errorf("tenant %q is answered %q, %v, want unknown", tenant, a, err)
		}
	}
	tr.want("root running", "a scheduled")
}

func TestACancelOfARunningRunIsAnnouncedW19(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	conn := tr.renewal()
	if _, err := conn.Exec(t.Context(), `LISTEN syncline_pool`); err != nil {
		t.Fatal(err)
	}
	tr.cancel("root", jobs.CancelAsked)
	tr.exec(`SELECT pg_notify('syncline_pool', 'mark')`)
	n, err := conn.WaitForNotification(t.Context())
	if err != nil || n.Payload != pool {
		t.Fatalf("a request is announced by %+v, %v, want a notification of the pool", n, err)
	}
}

func TestADeepTreeIsCancelledAsAWholeW17(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	root := q.start(jobs.StartParams{})
	q.exec(`
INSERT INTO run (id, job_type, pool, root, parent, close_policy)
SELECT g, $1, $2, $3, g - 1, CASE WHEN g % 100 = 0 THEN 'cancel' ELSE 'terminate' END
FROM generate_series($3::bigint + 1, $3::bigint + 2000) AS g`, jobType, pool, root)
	q.exec(`INSERT INTO ready (id, pool, job_type, vstart) SELECT id, pool, job_type, run_at FROM run WHERE id > $1`, root)
	q.cancelIn(q.db, root, jobs.CancelDone)
	if n := one[int](q, `SELECT count(*)::int FROM run WHERE status <> 'cancelled'`); n != 0 {
		t.Fatalf("%d of 2001 runs of a chain are not cancelled", n)
	}
	q.check()
}

// Who is cancelled alone leaves its children be, also when it ends later because one of them has to end first.
func TestACancelWithoutCascadeLeavesTheChildrenOfAClosingRunAlone(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root terminate", "b<a cancel", "c*<a terminate")
	tr.settle(tr.inc, jobs.Settlement{Claim: tr.claims["a"], Outcome: jobs.Snoozed, Delay: time.Hour})
	p := jobs.CancelParams{Run: tr.runs["a"], Tenant: "t", By: "ann", NoCascade: true}
	if a, err := jobs.Cancel(t.Context(), tr.db, p); err != nil || a != jobs.CancelDone {
		t.Fatalf("cancel answered %q, %v", a, err)
	}
	tr.want("a waiting", "b running", "c scheduled")
	tr.end("b", jobs.Completed)
	tr.want("a cancelled", "c scheduled")
}

// Whoever carries a cancel out, the run says who asked for it and why.
func TestASweepThatCancelsSaysWhoAskedAndWhyW27(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root terminate", "b*<root terminate")
	held := tr.begin()
	if _, err := held.Exec(t.Context(), `SELECT FROM scheduled WHERE id = $1 FOR UPDATE`, tr.runs["b"]); err != nil {
		t.Fatal(err)
	}
	tr.cancel("root", jobs.CancelAsked) // running ones, and one that somebody holds
	commit(t, held)
	tr.sweep()
	tr.want("root asked", "a asked", "b cancelled")
	tr.expire(tr.inc)
	tr.sweep()
	for _, name := range []string{"root", "a", "b"} {
		got := one[string](tr.queue, `SELECT status || ': ' || error FROM run WHERE id = $1`, tr.runs[name])
		if want := `cancelled: cancel requested by "ann": wrong order`; got != want {
			t.Errorf("run %s is %q, want %q", name, got, want)
		}
	}
}

// The words of a cancel travel with beats: no caller can make those too long for a worker to read.
func TestTheWordsOfACancelAreBounded(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root terminate")
	tr.exec(`UPDATE run SET scope = 's' WHERE id = $1`, tr.runs["a"])
	for _, sql := range []string{
		`SELECT cancel($1, repeat('b', 20000), repeat('r', 20000), '{"tenant": "t", "cascade": false}') WHERE $2 > 0`,
		`SELECT cancel_scope('s', repeat('b', 20000), repeat('r', 20000), '{"tenant": "t", "cascade": false}') WHERE $1 > 0 AND $2 > 0`,
	} {
		tr.exec(sql, tr.runs["root"], tr.runs["a"])
	}
	if got := one[string](tr.queue, `
SELECT string_agg(DISTINCT length(requested_by) || ' ' || length(reason), ', ') || ' of ' || count(*) FROM cancel_request`); got != "10000 10000 of 2" {
		t.Errorf("the requests have words of these lengths: %s, want 10000 10000 of 2", got)
	}
}

// A child that has completed keeps its own children, whatever becomes of its parent.
func TestACompletedChildShieldsItsTree(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	inc := q.register()
	root := q.start(jobs.StartParams{})
	c := q.claimOne(inc)
	q.spawn(c, "child", jobs.StartParams{})
	child := q.claimOne(inc)
	grandchild := q.spawn(child, "grandchild", jobs.StartParams{Delay: time.Hour})
	q.settle(inc, completed(child))
	q.cancelIn(q.db, root, jobs.CancelAsked)
	q.wantPlace(grandchild, "pending", "scheduled")
}

// A request stands once for a life, and again only when it reaches further.
func TestARequestToCancelIsLeftOnce(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	run := q.start(jobs.StartParams{})
	q.claimOne(q.register())
	ask := func(options string, want int) {
		t.Helper()
		q.exec(`SELECT cancel($1, requested_by => NULL, reason => NULL, options => $2)`, run, options)
		if n := one[int](q, `SELECT count(*) FROM cancel_request`); n != want {
			t.Errorf("%d requests stand after %s, want %d", n, options, want)
		}
	}
	ask(`{"cascade": false}`, 1)
	ask(`{"cascade": false}`, 1)
	ask(`{}`, 2)
	ask(`{}`, 2)
	ask(`{"cascade": false}`, 2)
	q.exec(`UPDATE run SET replays = replays + 1`)
	ask(`{}`, 3)
}

// What was asked of an earlier life of a run decides nothing about the children of this one.
func TestARequestIsOfOneLife(t *testing.T) {
	t.Parallel()
	const withChildren, alone = `SELECT cancel($1, 'ann', '', '{}')`, `SELECT cancel($1, 'ann', '', '{"cascade": false}')`
	for name, c := range map[string]struct{ before, now, status, place string }{
		"all then, alone now":       {withChildren, alone, "pending", "scheduled"},
		"alone then, by itself now": {alone, "", "cancelled", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			inc := q.register()
			root := q.start(jobs.StartParams{})
			for life, ask := range []string{c.before, c.now} {
				if life > 0 {
					q.replay(root, jobs.ReplayScratch, life)
				}
				claim := q.claimOne(inc)
				child := q.spawn(claim, "child", jobs.StartParams{Delay: time.Hour})
				if ask != "" {
					q.exec(ask, root)
				}
				q.settle(inc, jobs.Settlement{Claim: claim, Outcome: jobs.Cancelled, Code: "x", Message: "because"})
				if life > 0 {
					q.wantPlace(child, c.status, c.place)
				}
			}
		})
	}
}

// A request is for who can still be stopped, and told to those who execute.
func TestARequestIsLeftForLiveRunsAndAnnouncedForRunningOnes(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "closing<root terminate", "child<closing cancel", "ended*<root terminate", "late*<root terminate")
	tr.cancel("ended", jobs.CancelDone)
	tr.end("closing", jobs.Failed)
	tr.want("closing waiting", "child asked", "ended cancelled", "late scheduled")
	tr.exec(`DELETE FROM cancel_request`)
	conn := tr.renewal()
	if _, err := conn.Exec(t.Context(), `LISTEN syncline_pool`); err != nil {
		t.Fatal(err)
	}
	const request = `SELECT request_cancels($1::bigint[], array_fill('ann'::text, ARRAY[cardinality($1)]), array_fill(''::text, ARRAY[cardinality($1)]), true)`
	tr.exec(request, []int64{tr.runs["closing"], tr.runs["ended"], tr.runs["late"]})
	if got := one[[]int64](tr.queue, `SELECT array_agg(run) FROM cancel_request`); !slices.Equal(got, []int64{tr.runs["late"]}) {
		t.Errorf("requests are left for the runs %v, want %d only", got, tr.runs["late"])
	}
	tr.exec(`SELECT pg_notify('syncline_pool', 'mark')`)
	if n, err := conn.WaitForNotification(t.Context()); err != nil || n.Payload != "mark" {
		t.Errorf("a request for a run that nobody executes is announced by %+v, %v", n, err)
	}
}

// A run that ends together with its parent may have to close, and then the parent has to as well.
func TestAParentClosesWithAChildThatEndedWithIt(t *testing.T) {
	t.Parallel()
	tr := newTree(t, "a<root cancel", "b<a cancel")
	tr.settle(tr.inc, jobs.Settlement{Claim: tr.claims["a"], Outcome: jobs.Snoozed, Delay: time.Hour})
	tr.end("root", jobs.Failed)
	tr.want("root waiting", "a waiting", "b asked")
	tr.end("b", jobs.Cancelled)
	tr.want("root failed", "a cancelled", "b cancelled")
}
