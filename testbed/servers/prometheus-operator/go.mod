// Nothing is built from it: it holds the definitions that prometheus-operator installs.
module secure-exporter.test/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.94.1
