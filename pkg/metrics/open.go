// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// openMost bounds the devices and the threads that are followed.
const openMost = 16384

// waiting is a device that waits to be freed.
type waiting struct {
	since    time.Time
	device   string // its kind
	families map[string]int
}

// openCollector tells what is so now: devices that wait, threads that are stranded,
// incidents that are not over.
type openCollector struct {
	mu        sync.Mutex
	waiting   map[string]waiting // by id of the finding
	stranded  map[string]bool    // the same
	incidents map[string]int     // by class
	untold    float64            // what there was no room for
	families  *vocabulary

	descWaiting, descLongest, descReferences, descStranded, descIncidents, descUntold *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

func newOpenCollector(families *vocabulary) *openCollector {
	c := &openCollector{
		incidents: make(map[string]int), families: families,
		descWaiting:    desc("waiting_devices", "Devices that cannot be freed because somebody holds them.", "device_kind"),
		descLongest:    desc("waiting_longest_seconds", "How long the one of them has waited that has waited longest."),
		descReferences: desc("waiting_device_references", "References that hold them, by what they are for.", "device_kind", "family"),
		descStranded:   desc("stranded_threads", "Threads that are left behind in another network namespace."),
		descIncidents:  desc("incidents_open", "Incidents that are not over.", "class"),
		descUntold:     desc("untracked_findings_total", "Devices and threads that the gauges leave out, because there were too many."),
	}
	c.restart()
	return c
}

func (c *openCollector) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting, c.stranded = make(map[string]waiting), make(map[string]bool)
}

func (c *openCollector) incident(class string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.incidents[class] += n
}

func (c *openCollector) waits(id string, w waiting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.waiting[id]; !known && len(c.waiting) >= openMost {
		c.untold++
		return
	}
	bounded := make(map[string]int, len(w.families))
	for family, n := range w.families {
		if !c.families.has(family) {
			family = other
		}
		bounded[family] += n
	}
	w.families = bounded
	c.waiting[id] = w
}

func (c *openCollector) released(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

func (c *openCollector) strands(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stranded[id] && len(c.stranded) >= openMost {
		c.untold++
		return
	}
	c.stranded[id] = true
}

func (c *openCollector) back(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.stranded, id)
}

// Describe implements prometheus.Collector.
func (c *openCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.descWaiting, c.descLongest, c.descReferences, c.descStranded, c.descIncidents, c.descUntold} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *openCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	devices := make(map[string]int)
	references := make(map[[2]string]int)
	longest := 0.0
	for _, w := range c.waiting {
		devices[w.device]++
		longest = max(longest, time.Since(w.since).Seconds())
		for family, n := range w.families {
			references[[2]string{w.device, family}] += n
		}
	}
	for device, n := range devices {
		gauge(c.descWaiting, float64(n), device)
	}
	for key, n := range references {
		gauge(c.descReferences, float64(n), key[0], key[1])
	}
	for class, n := range c.incidents {
		gauge(c.descIncidents, float64(n), class)
	}
	gauge(c.descLongest, longest)
	gauge(c.descStranded, float64(len(c.stranded)))
	out <- prometheus.MustNewConstMetric(c.descUntold, prometheus.CounterValue, c.untold)
}
