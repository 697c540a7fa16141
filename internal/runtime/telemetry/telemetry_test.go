package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

func TestLoggerWritesJSONOfTheAskedLevel(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "warn")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("too quiet")
	log.Warn("heard", slog.String("pool", "batch"))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("want one JSON line, got %q: %v", out.String(), err)
	}
	if line["msg"] != "heard" || line["pool"] != "batch" {
		t.Errorf("the line is %v, want msg heard of pool batch", line)
	}
	if at, _ := line["time"].(string); !strings.HasSuffix(at, "Z") {
		t.Errorf("the line's time is %q, want UTC", at)
	}
}

func TestUnknownLogLevelNamesTheChoices(t *testing.T) {
	_, err := telemetry.NewLogger(&bytes.Buffer{}, "loud")
	if err == nil || !strings.Contains(err.Error(), "want debug, info, warn or error") {
		t.Errorf("the error is %v, want one that names the levels", err)
	}
}

func TestWorkerMetricsCarryThePoolAndPassTheLinter(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	w := telemetry.NewWorker(r, "batch")
	w.Settled.WithLabelValues(string(telemetry.Completed), "mail").Inc()
	want := `# HELP syncline_worker_settled_runs_total Runs that left this worker, by outcome and job type.
# TYPE syncline_worker_settled_runs_total counter
syncline_worker_settled_runs_total{outcome="completed",pool="batch",type="mail"} 1
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "syncline_worker_settled_runs_total"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("metric %s: %s", p.Metric, p.Text)
	}
}
