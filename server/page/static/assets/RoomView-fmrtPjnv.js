import{a as e,t as i}from"./index-lLZS4ggQ.js";function r(){return e("main",{class:"page-view",children:e("h1",{children:i.views.room})})}export{r as default};
