// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
)

// exposition is what a scraper reads.
func exposition(m *Metrics) (string, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func serve(t *testing.T, m *Metrics, o ServerOptions) *Server {
	t.Helper()
	o.Listen, o.Log = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	s, err := m.Serve(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get asks for a page, and returns the status and the text.
func get(t *testing.T, client *http.Client, url, token string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestServer(t *testing.T) {
	var stuck error
	s := serve(t, New("v0"), ServerOptions{Healthy: func() error { return stuck }})
	base := "http://" + s.Addr().String()
	for path, want := range map[string]int{
		"/metrics": 200, "/healthz": 200, "/readyz": 200, "/": 404, "/debug/pprof/": 404, "/debug/pprof/heap": 404,
	} {
		if status, _ := get(t, http.DefaultClient, base+path, ""); status != want {
			t.Errorf("%s: status %d, want %d", path, status, want)
		}
	}
	stuck = errors.New("nothing was read for 40 s")
	if status, text := get(t, http.DefaultClient, base+"/healthz", ""); status != 503 || text != "nothing was read for 40 s\n" {
		t.Errorf("not healthy: %d %q", status, text)
	}
}

func TestServerAsksForToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "secret\n")
	s := serve(t, New("v0"), ServerOptions{TokenFile: file, PProf: true})
	base := "http://" + s.Addr().String()
	expect := func(path, token string, want int) {
		t.Helper()
		if status, _ := get(t, http.DefaultClient, base+path, token); status != want {
			t.Errorf("%s with token %q: status %d, want %d", path, token, status, want)
		}
	}
	expect("/metrics", "", 401)
	expect("/metrics", "secre", 401)
	expect("/metrics", "secret", 200)
	expect("/debug/pprof/", "", 401)
	expect("/debug/pprof/heap", "secret", 200)
	expect("/healthz", "", 200) // the kubelet has none
	write(t, file, "another")
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	expect("/metrics", "secret", 401)
	expect("/metrics", "another", 200)
	write(t, file, "\n")
	if err := s.Reload(); err == nil {
		t.Error("an empty token was taken")
	}
	expect("/metrics", "another", 200)
}

func TestServerRefuses(t *testing.T) {
	taken := serve(t, New("v0"), ServerOptions{})
	for name, o := range map[string]ServerOptions{
		"no token file":   {Listen: "127.0.0.1:0", TokenFile: filepath.Join(t.TempDir(), "none")},
		"no certificate":  {Listen: "127.0.0.1:0", CertFile: filepath.Join(t.TempDir(), "none")},
		"port in use":     {Listen: taken.Addr().String()},
		"no such address": {Listen: "nonsense"},
	} {
		if s, err := New("v0").Serve(o); err == nil {
			t.Errorf("%s: it serves", name)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), "reading the") && !strings.Contains(err.Error(), "listening for metrics on") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	pool := selfSigned(t, cert, key)
	s := serve(t, New("v0"), ServerOptions{CertFile: cert, KeyFile: key})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	if status, _ := get(t, client, "https://"+s.Addr().String()+"/metrics", ""); status != 200 {
		t.Errorf("status %d", status)
	}
}

// A hundred who connect and say nothing keep nobody else out for long, and take no
// more than the bound.
func TestConnectionsAreBounded(t *testing.T) {
	s := serve(t, New("v0"), ServerOptions{})
	var open []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	closed := 0
	for _, c := range open {
		if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed < 100-connections {
		t.Errorf("%d of 100 were closed", closed)
	}
	for _, c := range open {
		c.Close()
	}
	ask := func() error {
		answer, err := http.Get("http://" + s.Addr().String() + "/healthz")
		if err != nil {
			return err
		}
		return answer.Body.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for err := ask(); err != nil; err = ask() {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	s := serve(t, New("v0"), ServerOptions{})
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	answer := make([]byte, 12)
	if _, err := io.ReadFull(c, answer); err == nil && string(answer) != "HTTP/1.1 431" {
		t.Errorf("answered %q", answer)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func selfSigned(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(t, cert, string(public))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	return pool
}
