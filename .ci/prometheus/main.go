// Reads what Prometheus would read, with Prometheus' own packages: a broker's metrics in both formats, the queries of
// its dashboard, and its rules. Anything that Prometheus would refuse, warn of or leave out is an error, and so is a
// metric that a query names and that is not there.
//
// Usage: prometheus URL SERIES DASHBOARD RULES, with how many series there are at least
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql/parser"
)

// What Prometheus asks for, and what it is to be answered with.
var formats = []struct{ accept, contentType string }{
	{
		"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
		"application/openmetrics-text; version=1.0.0; charset=utf-8",
	},
	{"text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "text/plain; version=0.0.4; charset=utf-8"},
}

var promql = parser.NewParser(parser.Options{})

func main() {
	if len(os.Args) != 5 {
		fail("usage: prometheus URL SERIES DASHBOARD RULES")
	}
	url, dashboard, rules := os.Args[1], os.Args[3], os.Args[4]
	least, err := strconv.Atoi(os.Args[2])
	check(err)
	known := map[string]bool{}
	for _, format := range formats {
		body := get(url, format.accept, format.contentType)
		for name := range families(body, format.contentType, least) {
			known[name] = true
		}
	}
	lint(get(url, formats[1].accept, formats[1].contentType))
	lintRefuses()
	queries := dashboardQueries(dashboard)
	for _, query := range append(queries, ruleQueries(rules)...) {
		for _, name := range metricsOf(query) {
			if !known[name] {
				fail("%s is not among the metrics, and %q asks for it", name, query)
			}
		}
	}
	fmt.Printf("   %d names of series in two formats; %d queries of the dashboard\n", len(known), len(queries))
}

func get(url, accept, contentType string) []byte {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	check(err)
	request.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(request)
	check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err)
	if response.StatusCode != http.StatusOK {
		fail("%s answers %s: %s", url, response.Status, body)
	}
	if answered := response.Header.Get("Content-Type"); answered != contentType {
		fail("asked for %q, it is %q", accept, answered)
	}
	return body
}

// What a page says of one metric.
type family struct {
	help, unit string
	kind       model.MetricType
}

// families reads a page as Prometheus does, and returns the names of series that it can have.
func families(body []byte, contentType string, least int) map[string]bool {
	isOpen := strings.HasPrefix(contentType, "application/openmetrics")
	page, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	check(err)
	metrics, series := map[string]*family{}, map[string]bool{}
	of := func(name []byte) *family {
		if metrics[string(name)] == nil {
			metrics[string(name)] = &family{}
		}
		return metrics[string(name)]
	}
	for {
		entry, err := page.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		check(err)
		switch entry {
		case textparse.EntryHelp:
			name, help := page.Help()
			once(of(name).help == "" && len(help) > 0, name, "help")
			of(name).help = string(help)
		case textparse.EntryType:
			name, kind := page.Type()
			once(of(name).kind == "", name, "type")
			of(name).kind = kind
		case textparse.EntryUnit:
			name, unit := page.Unit()
			once(of(name).unit == "" && strings.HasSuffix(string(name), "_"+string(unit)), name, "unit")
			of(name).unit = string(unit)
		case textparse.EntrySeries:
			var set labels.Labels
			page.Labels(&set)
			once(!series[set.String()], []byte(set.String()), "value")
			series[set.String()] = true
		}
	}
	names := map[string]bool{}
	for name, metric := range metrics {
		once(metric.help != "" && metric.kind != "" && metric.kind != model.MetricTypeUnknown, []byte(name), "help and type")
		hasUnit := strings.HasSuffix(name, "_bytes") || strings.HasSuffix(name, "_seconds")
		once(!isOpen || hasUnit == (metric.unit != ""), []byte(name), "unit")
		for _, suffix := range suffixes(metric.kind, isOpen) {
			names[name+suffix] = true
		}
	}
	if len(series) < least {
		fail("there are only %d series", len(series))
	}
	return names
}

func suffixes(kind model.MetricType, isOpen bool) []string {
	switch {
	case kind == model.MetricTypeHistogram:
		return []string{"_bucket", "_sum", "_count"}
	case isOpen && kind == model.MetricTypeCounter:
		return []string{"_total"}
	case isOpen && kind == model.MetricTypeInfo:
		return []string{"_info"}
	}
	return []string{""}
}

// lint is what `promtool check metrics` does.
func lint(body []byte) {
	problems, err := promlint.New(strings.NewReader(string(body))).Lint()
	check(err)
	for _, problem := range problems {
		fmt.Printf("   %s: %s\n", problem.Metric, problem.Text)
	}
	if len(problems) > 0 {
		fail("promlint has found %d problems", len(problems))
	}
}

// lintRefuses shows that it finds anything at all.
func lintRefuses() {
	problems, err := promlint.New(strings.NewReader("# TYPE a_count gauge\na_count 1\n")).Lint()
	check(err)
	if len(problems) == 0 {
		fail("promlint finds nothing wrong with a metric without help")
	}
}

// dashboardQueries are all expressions of a dashboard, with the variables that Grafana puts in.
func dashboardQueries(file string) []string {
	content, err := os.ReadFile(file)
	check(err)
	var dashboard any
	check(json.Unmarshal(content, &dashboard))
	var queries []string
	expressions(dashboard, &queries)
	if len(queries) < 20 {
		fail("the dashboard has only %d queries", len(queries))
	}
	return queries
}

func expressions(value any, queries *[]string) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			if text, ok := inner.(string); ok && (name == "expr" || name == "query" && strings.Contains(text, "(")) {
				*queries = append(*queries, strings.ReplaceAll(text, "$__rate_interval", "1m"))
			}
			expressions(inner, queries)
		}
	case []any:
		for _, inner := range value {
			expressions(inner, queries)
		}
	}
}

func ruleQueries(file string) []string {
	content, err := os.ReadFile(file)
	check(err)
	groups, errs := rulefmt.Parse(content, false, model.UTF8Validation, promql, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	for _, err := range errs {
		fmt.Printf("   %v\n", err)
	}
	if len(errs) > 0 {
		fail("%s has %d errors", file, len(errs))
	}
	var queries []string
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			queries = append(queries, rule.Expr)
			if rule.Alert != "" && (rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "") {
				fail("alert %s lacks a severity, a summary or a description", rule.Alert)
			}
		}
	}
	if len(queries) < 10 {
		fail("there are only %d rules", len(queries))
	}
	return queries
}

// A query of Grafana for the values of a label, which is none of PromQL.
var labelValues = regexp.MustCompile(`^label_values\(([^,]+), *\w+\)$`)

func metricsOf(query string) []string {
	if found := labelValues.FindStringSubmatch(query); found != nil {
		query = found[1]
	}
	expression, err := promql.ParseExpr(query)
	if err != nil {
		fail("%q: %v", query, err)
	}
	var names []string
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok && selector.Name != "up" {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names
}

func once(holds bool, name []byte, what string) {
	if !holds {
		fail("%s: it has to have one %s", name, what)
	}
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, values ...any) {
	fmt.Printf("FAILED: "+format+"\n", values...)
	os.Exit(1)
}
