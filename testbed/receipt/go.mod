module stele/testbed/stele-receipt-check

go 1.26.0

require (
	filippo.io/mldsa v1.0.0
	github.com/fxamacker/cbor/v2 v2.5.0
	github.com/transparency-dev/merkle v0.0.3-0.20260707140218-77df88e508fa
	github.com/veraison/go-cose v1.3.0
)

require github.com/x448/float16 v0.8.4 // indirect
