// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/netns-trace/netns-trace/pkg/finding"
)

// Prometheus itself scrapes a service, with its token, and answers queries.
func TestPrometheusScrapes(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed (apt-get install prometheus)")
	}
	h := newHost()
	h.book.Observe(waits("1", "veth1", finding.Opened, "waiting"))
	h.book.Observe(rewrite("veth1", 12))
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	write(t, token, "secret")
	s := serve(t, h.Metrics, ServerOptions{TokenFile: token})

	config := filepath.Join(dir, "prometheus.yml")
	write(t, config, fmt.Sprintf(`
scrape_configs:
  - job_name: netns-trace
    scrape_interval: 1s
    authorization: {credentials_file: %q}
    static_configs: [{targets: [%q]}]
`, token, s.Addr()))
	address := freeAddress(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}()

	for query, want := range map[string]string{
		`up{job="netns-trace"}`:                                   "1",
		`netns_trace_findings_total{class="refs",kind="waiting"}`: "1",
		`sum(netns_trace_csum_rewritten_packets_total)`:           "12",
		`sum by (family) (netns_trace_waiting_device_references)`: "2",
		`netns_trace_waiting_longest_seconds >= bool 5`:           "1",
		`count(netns_trace_build_info{version="v0.0.0"})`:         "1",
		`count({__name__=~"netns_trace_.*"}) < bool 60`:           "1",
	} {
		if got := ask(t, address, query, want); got != want {
			t.Errorf("%s is %q, want %s", query, got, want)
		}
	}
	if t.Failed() {
		text, _ := os.ReadFile(log.Name())
		t.Logf("prometheus said:\n%s", text)
	}
}

// ask queries until there is the wanted answer, or for too long.
func ask(t *testing.T, address, query, want string) (got string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); got != want && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		answer, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(query))
		if err != nil {
			continue // it is not up yet
		}
		var body struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		err = json.NewDecoder(answer.Body).Decode(&body)
		answer.Body.Close()
		if err == nil && len(body.Data.Result) == 1 {
			got = fmt.Sprint(body.Data.Result[0].Value[1])
		}
	}
	return got
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
