//! Fit per service, backtest, quality, the gate, the evaluation report
