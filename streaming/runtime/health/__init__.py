"""The health of a running platform: measured in one place for `./run status`, Prometheus and the alerts.

report      what is measured
ledger      what the ledger says, at a cost that does not grow with its age
alerts      which of it a person must act on
prometheus  all of it as metrics, with what the processes count themselves
__main__    the process that serves the metrics
"""
