// Verifies a chain as every Go client does, for the server NAME, and without a NAME as every Go server does that asks for
// client certificates: verify BUNDLE CHAIN [NAME]. A tool of trust_tables.rs.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

func main() {
	if err := verify(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func verify(bundle, chain string, name []string) error {
	trusted, err := os.ReadFile(bundle)
	if err != nil {
		return err
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	text, err := os.ReadFile(chain)
	if err != nil {
		return err
	}
	block, rest := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	intermediates.AppendCertsFromPEM(rest)
	options := x509.VerifyOptions{Roots: roots, Intermediates: intermediates}
	if len(name) > 0 {
		options.DNSName = name[0]
	} else {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	_, err = leaf.Verify(options)
	return err
}
