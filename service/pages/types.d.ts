// The service's JSON as the pages use it. `make lint` generates runs/openapi.d.ts from docs/openapi.json.

import type { components, paths } from "../../runs/openapi";

type Schemas = components["schemas"];

export type Operations = Schemas["Operations"];
export type OperationsHistory = Schemas["OperationsHistory"];
export type Failure = Schemas["Failure"];
export type FailurePage = Schemas["FailurePage"];
export type Band = Schemas["BandState"];
export type Drift = Schemas["DriftState"];
export type History = Schemas["HistoryState"];
export type Records = Schemas["RecordsState"];
export type Scores = Schemas["ScoresState"];
export type Shadow = Schemas["ShadowState"];
export type Stage = Schemas["StageState"];
export type Session = Schemas["SessionAnswer"];
export type DecisionRecord = Schemas["Record"];
export type RecordPage = Schemas["RecordPage"];
export type Share = Schemas["Share"];
export type SourceDifference = Schemas["Difference"];
export type SourceOutcomes = Schemas["SourceOutcomes"];
export type SourceReport = Schemas["SourceReport"];
export type Progress = Schemas["Progress"];
export type Agreement = Schemas["Agreement"];
export type Audit = Schemas["Audit"];
export type Recertificate = Schemas["Recertificate"];
export type ClassRecertificate = Schemas["ClassRecertificate"];
export type ShadowComparison = Schemas["ShadowComparison"];
export type RiskEstimate = Schemas["RiskEstimate"];
export type VerdictCounts = Schemas["VerdictCounts"];
export type ClaimedImages = Schemas["ClaimedImages"];
export type ReviewKind = Schemas["ReviewKind"];
export type Verdict = Schemas["Verdict"];
export type Decision = paths["/v1/decisions"]["post"]["responses"][200]["content"]["application/json"];

/** The names of the lists in a history. */
export type HistoryList = Exclude<keyof History, "times">;

/** One point of the time chart. */
export interface Point {
  time: number;
  perSecond: number;
  shares: number[];
  rejected: number | null;
}

/**
 * A history as the chart draws it: the steps, the time of its end, and its length in seconds and in words. It comes from
 * the records, or else from the memory of the running processes.
 */
export interface Span
  extends Pick<History, "times" | "seconds" | "decisions" | "unfamiliar" | "uncertain" | "contradicted"> {
  now: number;
  span: number;
  name: string;
  isRecorded: boolean;
  changes: OperationsHistory["changes"];
}

/** A JSON schema as OpenAPI documents hold it. */
export interface Schema {
  $ref?: string;
  type?: string;
  format?: string;
  title?: string;
  enum?: string[];
  const?: unknown;
  default?: unknown;
  examples?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  items?: Schema;
  prefixItems?: Schema[];
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
}

export interface Media {
  schema?: Schema;
}

export type Content = Record<string, Media>;

export interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  schema: Schema;
  description?: string;
}

export interface Operation {
  summary: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { content: Content };
  responses: Record<string, { description: string; content?: Content }>;
}

/** An OpenAPI document, as far as the API page reads it. */
export interface OpenApi {
  tags?: { name: string; description: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

/** One operation with its place in the document. */
export interface Endpoint {
  id: string;
  path: string;
  method: string;
  operation: Operation;
}

/** Settings of the API page: whether the service requires a token, and its origin. */
export interface DocsContext {
  document: OpenApi;
  access: Session["access"];
  origin: string;
}

/** An image of the review; `isHeld` keeps it although the service did not list it again. */
export type ReviewImage = DecisionRecord & { isHeld?: boolean };

/** A verdict or a skip. */
export type Choice = Verdict | "skipped";

/** A step of a review session: a choice, or the removal of one. */
export interface Step {
  image: ReviewImage;
  choice?: Choice;
  before?: Choice | "refused";
  takeBack?: Choice;
}

export type AnswerVisibility = "audit" | "hidden" | "shown";
