//! Forest, forecasters, time to breach, calibration; the artifact format and the registry
