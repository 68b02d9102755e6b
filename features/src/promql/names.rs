//! What PromQL calls the functions and operators of the subset.

use promql_parser::parser::token::{self, TokenType};

use super::node::{AggregateOp, BinaryOp, MapFunction, RangeFunction, SetOp};

pub(super) fn range_function(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => RangeFunction::Rate,
        "increase" => RangeFunction::Increase,
        "delta" => RangeFunction::Delta,
        "irate" => RangeFunction::Irate,
        "idelta" => RangeFunction::Idelta,
        "deriv" => RangeFunction::Deriv,
        "holt_winters" => RangeFunction::HoltWinters,
        "predict_linear" => RangeFunction::PredictLinear,
        "changes" => RangeFunction::Changes,
        "resets" => RangeFunction::Resets,
        "avg_over_time" => RangeFunction::Avg,
        "min_over_time" => RangeFunction::Min,
        "max_over_time" => RangeFunction::Max,
        "sum_over_time" => RangeFunction::Sum,
        "count_over_time" => RangeFunction::Count,
        "last_over_time" => RangeFunction::Last,
        "stddev_over_time" => RangeFunction::Stddev,
        "stdvar_over_time" => RangeFunction::Stdvar,
        "quantile_over_time" => RangeFunction::Quantile,
        "present_over_time" => RangeFunction::Present,
        _ => return None,
    })
}

pub(super) fn map_function(name: &str) -> Option<MapFunction> {
    Some(match name {
        "abs" => MapFunction::Abs,
        "ceil" => MapFunction::Ceil,
        "floor" => MapFunction::Floor,
        "exp" => MapFunction::Exp,
        "ln" => MapFunction::Ln,
        "log2" => MapFunction::Log2,
        "log10" => MapFunction::Log10,
        "sgn" => MapFunction::Sgn,
        "sqrt" => MapFunction::Sqrt,
        "round" => MapFunction::Round,
        "clamp" => MapFunction::Clamp,
        "clamp_min" => MapFunction::ClampMin,
        "clamp_max" => MapFunction::ClampMax,
        "sort" | "sort_desc" => MapFunction::Same,
        "minute" => MapFunction::Minute,
        "hour" => MapFunction::Hour,
        "day_of_week" => MapFunction::DayOfWeek,
        "day_of_month" => MapFunction::DayOfMonth,
        "day_of_year" => MapFunction::DayOfYear,
        "days_in_month" => MapFunction::DaysInMonth,
        "month" => MapFunction::Month,
        "year" => MapFunction::Year,
        "histogram_count" => MapFunction::HistogramCount,
        "histogram_sum" => MapFunction::HistogramSum,
        _ => return None,
    })
}

pub(super) fn aggregate_op(op: TokenType) -> Option<AggregateOp> {
    Some(match op.id() {
        token::T_SUM => AggregateOp::Sum,
        token::T_AVG => AggregateOp::Avg,
        token::T_MIN => AggregateOp::Min,
        token::T_MAX => AggregateOp::Max,
        token::T_COUNT => AggregateOp::Count,
        token::T_GROUP => AggregateOp::Group,
        token::T_STDDEV => AggregateOp::Stddev,
        token::T_STDVAR => AggregateOp::Stdvar,
        token::T_QUANTILE => AggregateOp::Quantile,
        token::T_TOPK => AggregateOp::TopK,
        token::T_BOTTOMK => AggregateOp::BottomK,
        _ => return None,
    })
}

pub(super) fn set_op(op: TokenType) -> Option<SetOp> {
    match op.id() {
        token::T_LAND => Some(SetOp::And),
        token::T_LOR => Some(SetOp::Or),
        token::T_LUNLESS => Some(SetOp::Unless),
        _ => None,
    }
}

pub(super) fn binary_op(op: TokenType) -> Option<BinaryOp> {
    Some(match op.id() {
        token::T_ADD => BinaryOp::Add,
        token::T_SUB => BinaryOp::Sub,
        token::T_MUL => BinaryOp::Mul,
        token::T_DIV => BinaryOp::Div,
        token::T_MOD => BinaryOp::Mod,
        token::T_POW => BinaryOp::Pow,
        token::T_EQLC => BinaryOp::Equal,
        token::T_NEQ => BinaryOp::NotEqual,
        token::T_LSS => BinaryOp::Less,
        token::T_LTE => BinaryOp::LessEqual,
        token::T_GTR => BinaryOp::Greater,
        token::T_GTE => BinaryOp::GreaterEqual,
        _ => return None,
    })
}
