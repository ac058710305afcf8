module secure-exporter.test/pause

go 1.24.0
